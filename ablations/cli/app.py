"""The programs `ablations` and `run-ablation`; expected failures become a message and a code."""

import errno
import gc
import inspect
import logging
import signal
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, NoReturn

import typer

from ablations.cli.attention import attention
from ablations.cli.bench import bench
from ablations.cli.display import print_message, replace_unprintable
from ablations.cli.evaluate import evaluate
from ablations.cli.list import list_experiments
from ablations.cli.match import match
from ablations.cli.plan import plan
from ablations.cli.report import report
from ablations.cli.run import run
from ablations.cli.status import status
from ablations.cli.sync import sync
from ablations.cli.ui import ui
from ablations.cli.verify import verify
from ablations.errors import AblationError, InputError, InterruptedRunError
from ablations.escapes import shorten

COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_experiments,
    "plan": plan,
    "run": run,
    "status": status,
    "report": report,
    "ui": ui,
    "sync": sync,
    "verify": verify,
    "match": match,
    "bench": bench,
    "attention": attention,
    "evaluate": evaluate,
}
"""In the order in which they are used, which is that of `--help`.

Their modules import only what their options need: what does the work is imported when a command is
called, so that help and completion are fast.
"""


Debug = Annotated[
    bool,
    typer.Option(
        "--debug", envvar="ABLATIONS_DEBUG", help="Show the stack trace of an error as well."
    ),
]


def _add_debug(command: Callable[..., None]) -> Callable[..., None]:
    """The command with one more option, --debug."""

    @wraps(command)
    def debuggable(*, debug: bool, **options: Any) -> None:
        try:
            command(**options)
        except AblationError as error:
            if debug:
                print_message("".join(traceback.format_exception(error)))
            raise

    signature = inspect.signature(command)
    option = inspect.Parameter(
        "debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug
    )
    debuggable.__signature__ = signature.replace(  # type: ignore[attr-defined]  # read by Typer
        parameters=[*signature.parameters.values(), option]
    )
    debuggable.__annotations__ = {**command.__annotations__, "debug": Debug}
    return debuggable


app = typer.Typer(
    name="ablations",
    help="Find out whether a part of a network earns its place.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_add_debug(_command))


def main() -> NoReturn:
    """Entry point of `ablations`."""
    _start(app)


def main_run() -> NoReturn:
    """Entry point of `run-ablation`, the same as `ablations run`."""
    single = typer.Typer(pretty_exceptions_enable=False)
    single.command(name="run-ablation")(_add_debug(run))
    _start(single)


class _Printer(logging.Handler):
    """Prints warnings above the progress bars, one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record."""
        print_message(self.format(record))


class _Termination:
    """Makes SIGTERM stop the program as Ctrl-C does, but with an exit code of its own."""

    exit_code = 128 + signal.SIGTERM

    def __init__(self) -> None:
        self.is_asked = False
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_: object) -> None:
        self.is_asked = True
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)


def _start(program: Callable[[], Any]) -> NoReturn:
    replace_unprintable()
    termination = _Termination()
    gc.set_threshold(100_000)  # thousands of records live to the end; default: a sixth of the time
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[_Printer()],
    )
    code = _call(program)
    is_stopped = code == InterruptedRunError.exit_code and termination.is_asked
    sys.exit(termination.exit_code if is_stopped else code)


def _call(program: Callable[[], Any]) -> int:
    """Calls a program, shows an expected failure as a message, and returns the exit code."""
    try:
        return _read_code(program)
    except AblationError as error:
        print_message(str(error))
        return error.exit_code
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        print_message(f"{shorten(str(error.filename), 80)}: {error.strerror}. Pass another path.")
        return InputError.exit_code
    except KeyboardInterrupt:
        print_message("interrupted")
        return InterruptedRunError.exit_code


def _read_code(program: Callable[[], Any]) -> int:
    """The exit code of one of Typer's programs, which exit even when they are complete.

    Raises:
        KeyboardInterrupt: If the user stopped the program; Typer makes that an exit code.
    """
    try:
        program()
    except SystemExit as error:
        if error.code == InterruptedRunError.exit_code:
            raise KeyboardInterrupt from None
        return int(error.code or 0)
    return 0
