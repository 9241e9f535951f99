"""Functions that users wrote to load a dataset: found, imported and called.

Faults of the user's code become messages.
"""

import importlib.util
import inspect
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from ablations.errors import InputError, suggest
from ablations.files import hash_file
from ablations.user_code import UserCodeError, calling_user_code, describe_error, import_from

LIMIT_SECONDS = 3600.0
"""Time that a dataset may take to load."""


@dataclass(frozen=True, kw_only=True)
class Loader:
    """A function that loads a dataset, before its module is imported."""

    name: str
    """Import path, as `package.module:function`."""

    spec: ModuleSpec
    """Where its module is."""

    is_local: bool
    """Whether the module is beside experiments.yaml rather than installed."""

    @property
    def file(self) -> Path:
        """Source file of the module."""
        return Path(str(self.spec.origin))

    @property
    def source(self) -> str:
        """SHA-256 of the source file."""
        return hash_file(self.file)


def find_loader(name: str, *, folder: Path) -> Loader:
    """Finds the module of a function in `folder` or among the installed ones; runs none of it.

    Python imports from `folder` first afterwards, since the module may import its neighbours.

    Args:
        name: `package.module:function`.
        folder: Folder of experiments.yaml.

    Raises:
        ValueError: If there is no such module.
    """
    module_name = name.partition(":")[0]
    import_from(folder)
    local = _find_local(module_name, folder)
    try:
        spec = local or importlib.util.find_spec(module_name)
    except Exception as error:  # a package around the module may raise anything
        raise ValueError(f"{name} must be importable, got {describe_error(error)}") from error
    if spec is None or not spec.has_location:
        hint = suggest(module_name, (path.stem for path in folder.glob("*.py")))
        raise ValueError(
            f"{name} must be importable, got no file {module_name}.py in {folder} and no installed "
            f"module of that name{hint}"
        )
    return Loader(name=name, spec=spec, is_local=local is not None)


def call_loader(loader: Loader, data_dir: Path) -> Any:
    """Imports the module as its file is now, and calls the function; what it prints is no output.

    Raises:
        ValueError: If the function is missing, or anything raises.
    """
    try:
        with (
            redirect_stdout(sys.stderr),
            calling_user_code(f"loading {loader.name}", seconds=LIMIT_SECONDS),
        ):
            return _get_function(loader)(data_dir.absolute())
    except UserCodeError as error:
        raise ValueError(f"{loader.name} must return a dataset, got an error: {error}") from error
    except InputError as fault:
        raise ValueError(str(fault)) from None


def _find_local(module_name: str, folder: Path) -> ModuleSpec | None:
    """The module's file below `folder`; no package around it is imported."""
    search, spec = [str(folder)], None
    parts = module_name.split(".")
    for end in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:end]), search)
        search = list(spec.submodule_search_locations or ()) if spec else []
    return spec if spec and spec.has_location else None


def _get_function(loader: Loader) -> Callable[[Path], Any]:
    module = _import_module(loader)
    name = loader.name.partition(":")[2]
    found = getattr(module, name, None)
    if found is None:
        hint = suggest(name, (key for key, value in vars(module).items() if callable(value)))
        raise InputError(f"{loader.file} must define {name}, got no such function{hint}")
    if not callable(found):
        raise InputError(f"{loader.name} must be a function, got {found!r:.60}")
    try:
        inspect.signature(found).bind(Path())
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{loader.name} must take one argument, the data directory, got {describe_error(error)}"
        ) from None
    function: Callable[[Path], Any] = found
    return function


def _import_module(loader: Loader) -> ModuleType:
    """Imports the module; one beside experiments.yaml anew, since a notebook's user may edit it."""
    name = loader.spec.name
    if not loader.is_local:
        return importlib.import_module(name)
    if package := name.rpartition(".")[0]:
        importlib.import_module(package)
    module = importlib.util.module_from_spec(loader.spec)
    # Compiled here, because Python's cache of compiled files overlooks an edit within a second.
    code = compile(loader.file.read_bytes(), str(loader.file), "exec")
    sys.modules[name] = module
    try:
        exec(code, vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module
