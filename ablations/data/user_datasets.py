"""Datasets that users wrote: loaded once, then known by the checksum of their arrays.

An index beside the prepared arrays says which arrays a function gave. It is valid while the source
of the function's module and the files that the function named are unchanged.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ablations.data.catalogue import Dataset
from ablations.data.prepared import compute_checksum, write_arrays
from ablations.data.user_arrays import FILES, Arrays, check_arrays, describe_arrays
from ablations.data.user_loaders import Loader, call_loader, find_loader
from ablations.files import hash_value, read_cache, write_cache

INDEX_FILE = "own.json"
"""File in the folder of prepared arrays that says which arrays each function gave."""

Stamp = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds of a file."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What is known of a function since it was called."""

    source: str
    """SHA-256 of its module's file."""

    files: dict[str, Stamp]
    """Files that the images depend on, as they were."""

    dataset: Dataset
    """The dataset that it returned."""


_ENTRY = TypeAdapter(_Entry)


@dataclass(frozen=True, kw_only=True)
class OwnDataset:
    """A function of the user's own that loads a dataset, and where everything is."""

    name: str
    """The function, as `package.module:function`."""

    folder: Path
    """Folder of experiments.yaml, which is searched for the module first."""

    data_dir: Path
    """The user's datasets; the function's argument."""

    cache_dir: Path
    """Folder of the prepared arrays."""


def identify_user_dataset(own: OwnDataset) -> Dataset:
    """The dataset that the function gives; calls it unless the prepared arrays are up to date.

    Raises:
        ValueError: If the function cannot be imported or called, or what it returns is no dataset;
            with all faults of the arrays, one per line.
        MachineError: If the arrays cannot be written.
    """
    loader = find_loader(own.name, folder=own.folder)
    if (known := _recall(own, loader)) is not None:
        return known
    source = loader.source
    arrays, files = _load(own, loader)
    checksum = compute_checksum(arrays)
    dataset = describe_arrays(own.name, arrays, checksum=checksum)
    if not (own.cache_dir / dataset.cache_name).is_dir():
        write_arrays(arrays, own.cache_dir / dataset.cache_name, checksum=checksum)
    entry = _Entry(source=source, files=files, dataset=dataset)
    index = {**read_cache(own.cache_dir / INDEX_FILE), _make_key(own, loader): asdict(entry)}
    write_cache(own.cache_dir / INDEX_FILE, index)
    return dataset


def recall_user_dataset(own: OwnDataset) -> Dataset | None:
    """The dataset if its prepared arrays are up to date, else None; runs no code of the user."""
    try:
        return _recall(own, find_loader(own.name, folder=own.folder))
    except ValueError:
        return None


def _recall(own: OwnDataset, loader: Loader) -> Dataset | None:
    raw = read_cache(own.cache_dir / INDEX_FILE).get(_make_key(own, loader))
    try:
        entry = _ENTRY.validate_python(raw)
    except ValidationError:
        return None
    is_current = (
        entry.dataset.name == own.name
        and entry.source == loader.source
        and entry.files == {name: _stamp(Path(name)) for name in entry.files}
        and (own.cache_dir / entry.dataset.cache_name).is_dir()
    )
    return entry.dataset if is_current else None


def _make_key(own: OwnDataset, loader: Loader) -> str:
    """Name of a function's entry: another project or data directory has another."""
    return hash_value([own.name, str(loader.file), str(own.data_dir.absolute())])[:12]


def _load(own: OwnDataset, loader: Loader) -> tuple[Arrays, dict[str, Stamp]]:
    """Calls the function; returns its arrays and the files that they depend on."""
    returned = call_loader(loader, own.data_dir)
    arrays = check_arrays(own.name, returned)
    return arrays, _stamp_files(own, returned.get(FILES, ()))


def _stamp_files(own: OwnDataset, files: Any) -> dict[str, Stamp]:
    """The files that the function named; relative paths start at the folder of experiments.yaml."""
    given = (files,) if isinstance(files, str | Path) else files
    names: list[Any] = list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(name, str | Path) for name in names):
        raise ValueError(f"{own.name}: {FILES} must be a list of paths, got {files!r:.60}")
    stamps = {str(own.folder / name): _stamp(own.folder / name) for name in names}
    if missing := [path for path, stamp in stamps.items() if stamp is None]:
        raise ValueError(f"{own.name}: {FILES} must name files, got {missing[0]}, which is none")
    return {path: stamp for path, stamp in stamps.items() if stamp is not None}


def _stamp(path: Path) -> Stamp | None:
    """What changes when the file is written; None if there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if path.is_file() else None
