"""Prepared arrays of a dataset on disk: their checksum, written atomically, mapped into memory.

Loads no torch, since plans prepare the datasets of users.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from ablations.errors import MachineError
from ablations.files import measure_regular

CHECKSUM_FILE = "checksum.txt"
"""File beside the prepared arrays that holds their checksum; it is used where none is pinned."""


def compute_checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of names, shapes and bytes, independent of any file format."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def write_arrays(
    arrays: Mapping[str, NDArray[Any]], folder: Path, *, checksum: str | None = None
) -> None:
    """Writes all arrays to a temporary folder, then renames it to `folder`.

    Raises:
        MachineError: If the folder above it cannot be written to, or the disk is full.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise MachineError(
            f"{folder.parent} must be a writable folder, got {error.strerror}. "
            "Pass another --runs-dir."
        ) from error
    try:
        for name, array in arrays.items():
            np.save(staging / f"{name}.npy", array)
        if checksum is not None:
            (staging / CHECKSUM_FILE).write_text(f"{checksum}\n", encoding="utf-8")
        staging.rename(folder)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        if not folder.is_dir():  # another process may have written the same arrays
            raise MachineError(
                f"cannot write the dataset to {folder.parent}: {error.strerror or error}. Free "
                "some space, or pass another --runs-dir."
            ) from error


def map_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a folder, mapped from disk; empty if one of them is damaged."""
    try:
        paths = [path for path in folder.glob("*.npy") if measure_regular(path)]
        return {path.stem: open_memmap(path, mode="r") for path in paths}
    except Exception:  # noqa: BLE001 - a damaged header makes NumPy raise many types
        return {}


def remove_path(path: Path) -> None:
    """Removes a folder, or what is in its place, if there is any."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()
