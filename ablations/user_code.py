"""The boundary around code that users wrote: where it is imported from, and what it raises.

Whatever it raises becomes one message, with its own file and line.
"""

import importlib
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ablations.errors import InputError
from ablations.escapes import escape_controls, shorten

LIMIT_SECONDS = 60.0
"""Time that one call at plan time may take, such as the import of a module."""

LONGEST_ERROR = 500
"""Most characters of an error that a message shows."""

_OURS = (Path(__file__).parent, Path(__file__).parents[1] / "sknet")
_LIBRARIES = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))


class UserCodeError(InputError):
    """A user's module raised, called `exit`, or ran for too long."""


def import_from(folder: Path) -> None:
    """Makes Python import from a folder first, files included that have just been written."""
    sys.path[:] = [str(folder), *(path for path in sys.path if path != str(folder))]
    importlib.invalidate_caches()


@contextmanager
def calling_user_code(what: str, *, seconds: float | None = None) -> Iterator[None]:
    """Turns whatever the block raises into one error with the user's file and line.

    Only Ctrl-C and our own errors pass. After `LIMIT_SECONDS` the block is stopped, if it is Python
    code in the main thread of a Unix process. The cause of the error has the whole stack trace.

    Args:
        what: What is being done, for the message: `importing their_modules`.
        seconds: Time that the block may take; `LIMIT_SECONDS` if None.

    Raises:
        UserCodeError: If the block raises, exits, or takes too long.
    """
    try:
        limit = LIMIT_SECONDS if seconds is None else seconds
        with limiting(limit, TimeoutError(f"no end after {limit:g} s")):
            yield
    except (KeyboardInterrupt, GeneratorExit, InputError):
        raise
    except BaseException as error:
        raise UserCodeError(
            f"{_find_place(error)}{describe_error(error)} (while {what})"
        ) from error


def describe_error(error: BaseException) -> str:
    """Type and message of an error on one line; the message of a user's class may raise as well.

    An error of our own is its message alone, whose full stop is left to whoever shows it.

    >>> describe_error(SystemExit(0)), describe_error(KeyError("a"))
    ('SystemExit: 0', "KeyError: 'a'")
    >>> describe_error(InputError("epochs must be positive, got 0. Pass --set epochs=N."))
    'epochs must be positive, got 0. Pass --set epochs=N'
    """
    if type(error).__module__.startswith("ablations."):
        text = str(error).removesuffix(".")
    elif isinstance(error, SyntaxError):
        text = f"{type(error).__name__}: {error.msg}"
    else:
        text = traceback.format_exception_only(error)[0]
    return shorten(escape_controls(" ".join(text.split())), LONGEST_ERROR)


def _find_place(error: BaseException) -> str:
    """File and line of the innermost frame that is neither ours nor a library's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    own = [
        f"{frame.filename}:{frame.lineno}: "
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and is_own(Path(frame.filename))
    ]
    return "".join(own[-1:])


def is_own(file: Path) -> bool:
    """Whether a file is the user's: neither of this program nor of a library."""
    return not any(file.is_relative_to(folder) for folder in _OURS + _LIBRARIES)


@contextmanager
def limiting(seconds: float, error: BaseException) -> Iterator[None]:
    """Raises `error` in the block after a time, where signals allow that.

    They do in the main thread of a Unix process, outside of other such blocks. Python code is
    interrupted at once, and native code when it returns.

    Args:
        seconds: The time; infinity for no limit.
        error: What to raise.
    """
    is_possible = (
        sys.platform != "win32"
        and seconds <= threading.TIMEOUT_MAX
        and threading.current_thread() is threading.main_thread()
        and signal.getitimer(signal.ITIMER_REAL)[0] == 0
    )
    if not is_possible:
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))  # 0 would mean no limit
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
