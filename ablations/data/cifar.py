"""CIFAR-10 and CIFAR-100 as their authors publish them: the binary and the Python layout."""

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ablations.data.catalogue import Dataset
from ablations.data.files import Bytes, read_bytes
from ablations.errors import MachineError

PIXELS = 3 * 32 * 32
UNPICKLING_ERRORS = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError),
    *(LookupError, TypeError, ValueError, OverflowError, MemoryError, RecursionError),
)
"""Errors that a damaged or foreign pickle may raise."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What distinguishes the files of the two datasets."""

    title: str
    """Name of the dataset in messages."""

    python: str
    """Folder of the Python layout."""

    binary: str
    """Folder of the binary layout; its files have the same names with the suffix `.bin`."""

    files: Mapping[str, Sequence[str]]
    """Files of each split."""

    label_key: bytes
    """Key of the labels in the Python layout."""

    label_bytes: int
    """Bytes before the pixels in the binary layout; the last one is the label."""


CIFAR10 = Layout(
    title="CIFAR-10",
    python="cifar-10-batches-py",
    binary="cifar-10-batches-bin",
    files={"train": [f"data_batch_{n}" for n in range(1, 6)], "test": ["test_batch"]},
    label_key=b"labels",
    label_bytes=1,
)

LAYOUTS: Mapping[str, Layout] = {
    "cifar10": CIFAR10,
    "cifar10_validation": replace(
        CIFAR10,
        files={"train": [f"data_batch_{n}" for n in range(1, 5)], "test": ["data_batch_5"]},
    ),
    "cifar100": Layout(
        title="CIFAR-100",
        python="cifar-100-python",
        binary="cifar-100-binary",
        files={"train": ["train"], "test": ["test"]},
        label_key=b"fine_labels",
        label_bytes=2,  # the coarse label, then the fine one
    ),
}
"""The files of each dataset, by its name."""


def read_cifar(dataset: Dataset, data_dir: Path) -> dict[str, Bytes]:
    """Reads the images (N, 3, 32, 32) and labels (N,) of both splits.

    The Python layout is preferred. A file of it is unpickled only if its MD5 is the published one.

    Raises:
        MachineError: If both layouts are missing, or a file is missing, truncated, unreadable or
            not the published one.
    """
    layout = LAYOUTS[dataset.name]
    read: Callable[[Layout, Path], tuple[Bytes, Bytes]]
    if (data_dir / layout.python).is_dir():
        md5 = {data_dir / name: expected for name, expected in dataset.published_md5}
        read, folder, suffix = partial(_read_python_batch, md5=md5), data_dir / layout.python, ""
    elif (data_dir / layout.binary).is_dir():
        read, folder, suffix = _read_binary_batch, data_dir / layout.binary, ".bin"
    else:
        raise MachineError(
            f"{data_dir} must hold {layout.title} in a folder {layout.binary} or {layout.python}, "
            "got neither. Unpack its archive there, or pass --data-dir or --download."
        )
    arrays: dict[str, Bytes] = {}
    for split, names in layout.files.items():
        batches = [read(layout, folder / f"{name}{suffix}") for name in names]
        arrays[f"{split}_images"] = np.concatenate([images for images, _ in batches])
        arrays[f"{split}_labels"] = np.concatenate([labels for _, labels in batches])
    return arrays


def _read_binary_batch(layout: Layout, path: Path) -> tuple[Bytes, Bytes]:
    """Reads label bytes and 3,072 pixel bytes per image: red, green, blue, each row by row."""
    content = np.frombuffer(read_bytes(path, title=layout.title), np.uint8)
    size = layout.label_bytes + PIXELS
    if content.size == 0 or content.size % size:
        raise MachineError(
            f"{path} must hold a whole number of records of {size} bytes, got "
            f"{content.size} bytes. Download it again."
        )
    records = content.reshape(-1, size)
    images = records[:, layout.label_bytes :].reshape(-1, 3, 32, 32)
    return images, records[:, layout.label_bytes - 1]


def _read_python_batch(
    layout: Layout, path: Path, *, md5: Mapping[Path, str]
) -> tuple[Bytes, Bytes]:
    """Reads a dictionary with `data` (N, 3072) and the labels, pickled by Python 2."""
    content = read_bytes(path, title=layout.title)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5[path]:
        raise MachineError(
            f"{path} must have the MD5 {md5[path]}, got {found}. "
            "It is damaged or not the published file; download it again."
        )
    try:
        batch = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
        labels = np.frombuffer(bytes(batch[layout.label_key]), np.uint8)
        images = batch[b"data"].values.reshape(-1, 3, 32, 32)
    except UNPICKLING_ERRORS as error:
        raise MachineError(
            f"{path} must be a batch of {layout.title} for Python, got {type(error).__name__}: "
            f"{error}. Download it again."
        ) from error
    if len(images) != len(labels):
        raise MachineError(
            f"{path} must have one label per image, got {len(images)} images and "
            f"{len(labels)} labels. Download it again."
        )
    return images, labels


class _ByteType:
    """Stand-in for the type of an array's values, which must be bytes."""

    def __init__(self, code: bytes, *_: Any) -> None:
        if code != b"u1":
            raise pickle.UnpicklingError(f"array values must be bytes, got {code!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Does nothing: bytes have no byte order."""


class _ByteArray:
    """Stand-in for an array; its pickled state is checked before NumPy sees it."""

    values: Bytes

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, byte_type, is_fortran, content = state
        if type(byte_type) is not _ByteType or is_fortran or type(content) is not bytes:
            raise pickle.UnpicklingError("an array must hold bytes in row-major order")
        self.values = np.frombuffer(content, np.uint8).reshape(shape)


def _reconstruct(*_: Any) -> _ByteArray:
    """Stand-in for the NumPy function of this name, which creates an empty array."""
    return _ByteArray()


class _BatchUnpickler(pickle.Unpickler):
    """Unpickles plain values and arrays of bytes.

    The names in a batch resolve to stand-ins, so that a pickle can call nothing else.
    """

    NAMES: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): _ByteArray,
        ("numpy", "dtype"): _ByteType,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.NAMES:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}")
        return self.NAMES[module, name]
