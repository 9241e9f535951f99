"""Modules of operators that users wrote, imported as their files are now."""

import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

from ablations.files import hash_file
from ablations.user_code import UserCodeError, is_own

EXECUTED = "__executed_files__"
"""Attribute of a user's module: SHA-256 of the files that it depends on, when it was imported."""


def import_current(path: str, *, sources: Iterable[Path], folder: Path) -> None:
    """Imports a class, anew if its files were edited since, as the user of a notebook may do.

    These are the file of the named module, the one that defines the class, and `sources`. Whether
    there is such a module and class is checked later.

    Args:
        path: `package.module:Class`.
        sources: Further files that the class depends on.
        folder: Folder of the modules that can be imported anew.

    Raises:
        UserCodeError: If a file was edited whose module is not below `folder`.
    """
    name = path.partition(":")[0]
    executed = _list_executed(name)
    further = {*executed, *(str(source.resolve()) for source in sources)}
    if name in sys.modules:
        files = _hash_files(path, further)
        edited = {file for file, sha256 in files.items() if executed.get(file) != sha256}
        if edited:
            _forget(path, edited, folder, is_first=not executed)
    _find_class(path)
    if name in sys.modules:
        vars(sys.modules[name])[EXECUTED] = _hash_files(path, further)


def _find_class(path: str) -> object:
    """Imports a class; None if there is no such module or class."""
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name, None)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # it imports another module, which is missing
        return None


def _list_executed(name: str) -> Mapping[str, str]:
    module = sys.modules.get(name)
    executed: Mapping[str, str] = {} if module is None else vars(module).get(EXECUTED, {})
    return executed


def _hash_files(path: str, further: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the files of the named and of the defining module, and of further ones."""
    own = (_find_file(name) for name in _list_modules(path))
    files = {str(file) for file in own if file is not None}.union(further)
    return {file: hash_file(Path(file)) for file in files if Path(file).is_file()}


def _list_modules(path: str) -> set[str]:
    """Names of the named module and of the one that defines the class, if they are loaded."""
    names = {path.partition(":")[0], getattr(_find_class(path), "__module__", None)}
    return {name for name in names if name in sys.modules}


def _find_file(name: str) -> Path | None:
    """The file of a loaded module."""
    module = sys.modules[name]
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return Path(file).resolve() if isinstance(file, str) else None


def _forget(path: str, edited: Collection[str], folder: Path, *, is_first: bool) -> None:
    """Unloads the modules of the class and of the edited files, with the packages around them.

    At first sight of a module, all of its files pass for edited, since nobody knows what was
    executed; a module that is not below `folder` is then taken as it is.
    """
    files = {name: file for name in list(sys.modules) if (file := _find_file(name)) is not None}
    local = {name for name, file in files.items() if _is_local(name, file, folder)}
    stale = {path.partition(":")[0]} | {n for n, file in files.items() if str(file) in edited}
    if stale - local and not is_first:
        raise UserCodeError(
            f"{', '.join(sorted(edited))} changed after its import, and only modules below "
            f"{folder} are imported again, got {', '.join(sorted(stale - local))}. Restart Python."
        )
    packages = {name.partition(".")[0] for name in local & (stale | _list_modules(path))}
    for name in local:
        if name.partition(".")[0] in packages:
            _unload(name)


def _is_local(name: str, file: Path, folder: Path) -> bool:
    """Whether a module may be imported again: not the program that runs, and not a library."""
    return name != "__main__" and file.is_relative_to(folder.resolve()) and is_own(file)


def _unload(name: str) -> None:
    """Removes a module, and its compiled file: Python overlooks an edit within a second."""
    package, _, last = name.rpartition(".")
    if package in sys.modules:  # a package without a file of its own is kept
        vars(sys.modules[package]).pop(last, None)
    compiled = getattr(sys.modules.pop(name).__spec__, "cached", None)
    if compiled is not None:
        with suppress(OSError):
            Path(compiled).unlink(missing_ok=True)
