"""CIFAR-10 and CIFAR-100 as their authors publish them: the binary and the Python layout."""

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ablations.data.files import Bytes, read_bytes
from ablations.errors import MachineError

PIXELS = 3 * 32 * 32
UNPICKLING_ERRORS = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError),
    *(LookupError, TypeError, ValueError, OverflowError, MemoryError, RecursionError),
)
"""What a damaged pickle, or one of something else, may raise."""


@dataclass(frozen=True, kw_only=True)
class Cifar:
    """What the two datasets differ in."""

    title: str
    """Its name in messages."""

    python: str
    """Folder of the Python layout."""

    binary: str
    """Folder of the binary layout, whose files are named alike but for the suffix `.bin`."""

    files: Mapping[str, Sequence[str]]
    """Files of each split."""

    label_key: bytes
    """Of the Python layout: key of the labels."""

    label_bytes: int
    """Of the binary layout: bytes before the pixels; the last one is the label."""


CIFAR10 = Cifar(
    title="CIFAR-10",
    python="cifar-10-batches-py",
    binary="cifar-10-batches-bin",
    files={"train": [f"data_batch_{n}" for n in range(1, 6)], "test": ["test_batch"]},
    label_key=b"labels",
    label_bytes=1,
)

CIFAR100 = Cifar(
    title="CIFAR-100",
    python="cifar-100-python",
    binary="cifar-100-binary",
    files={"train": ["train"], "test": ["test"]},
    label_key=b"fine_labels",
    label_bytes=2,  # the coarse label, then the fine one
)


def read_cifar(cifar: Cifar, data_dir: Path, *, md5: Mapping[str, str]) -> dict[str, Bytes]:
    """Reads the images (N, 3, 32, 32) and labels (N,) of both splits.

    If both layouts are there the Python one is read.

    Args:
        cifar: Which of the two datasets.
        data_dir: Folder that holds the dataset's own folder.
        md5: MD5 of each file of the Python layout, by its path below `data_dir`. A file with
            another one is not unpickled.

    Raises:
        MachineError: If neither layout is there, or a file is missing, truncated, unreadable or
            not the published one.
    """
    read: Callable[[Cifar, Path], tuple[Bytes, Bytes]]
    if (data_dir / cifar.python).is_dir():
        sums = {data_dir / name: expected for name, expected in md5.items()}
        read, folder, suffix = partial(_read_python_batch, md5=sums), data_dir / cifar.python, ""
    elif (data_dir / cifar.binary).is_dir():
        read, folder, suffix = _read_binary_batch, data_dir / cifar.binary, ".bin"
    else:
        raise MachineError(
            f"{data_dir} must hold {cifar.title} as a folder {cifar.binary} or {cifar.python}, "
            "got neither. Unpack its archive there, pass --data-dir, or let --download fetch it."
        )
    arrays: dict[str, Bytes] = {}
    for split, names in cifar.files.items():
        batches = [read(cifar, folder / f"{name}{suffix}") for name in names]
        arrays[f"{split}_images"] = np.concatenate([images for images, _ in batches])
        arrays[f"{split}_labels"] = np.concatenate([labels for _, labels in batches])
    return arrays


def _read_binary_batch(cifar: Cifar, path: Path) -> tuple[Bytes, Bytes]:
    """Label bytes and 3,072 pixel bytes an image: red, green, blue, each row by row."""
    content = np.frombuffer(read_bytes(path, title=cifar.title), np.uint8)
    size = cifar.label_bytes + PIXELS
    if content.size == 0 or content.size % size:
        raise MachineError(
            f"{path} must hold a whole number of records of {size} bytes, got "
            f"{content.size} bytes. Fetch the file again."
        )
    records = content.reshape(-1, size)
    images = records[:, cifar.label_bytes :].reshape(-1, 3, 32, 32)
    return images, records[:, cifar.label_bytes - 1]


def _read_python_batch(cifar: Cifar, path: Path, *, md5: Mapping[Path, str]) -> tuple[Bytes, Bytes]:
    """A pickled dictionary with `data` (N, 3072) and the labels, written by Python 2."""
    content = read_bytes(path, title=cifar.title)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5[path]:
        raise MachineError(
            f"{path} must have the MD5 {md5[path]}, got {found}. "
            "It is damaged or not the published file; fetch it again."
        )
    try:
        batch = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
        labels = np.frombuffer(bytes(batch[cifar.label_key]), np.uint8)
        images = batch[b"data"].values.reshape(-1, 3, 32, 32)
    except UNPICKLING_ERRORS as error:
        raise MachineError(
            f"{path} must be a batch of {cifar.title} for Python, got {type(error).__name__}: "
            f"{error}. Fetch the file again."
        ) from error
    if len(images) != len(labels):
        raise MachineError(
            f"{path} must have a label for each image, got {len(images)} images and "
            f"{len(labels)} labels. Fetch the file again."
        )
    return images, labels


class _ByteType:
    """Stands for the type of an array's values, which must be bytes."""

    def __init__(self, code: bytes, *_: Any) -> None:
        if code != b"u1":
            raise pickle.UnpicklingError(f"the values of an array must be bytes, got {code!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Bytes have no order."""


class _ByteArray:
    """Stands for an array: what a pickle says of one is checked before NumPy sees it."""

    values: Bytes

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, byte_type, is_fortran, content = state
        if type(byte_type) is not _ByteType or is_fortran or type(content) is not bytes:
            raise pickle.UnpicklingError("an array must be of bytes, row by row")
        self.values = np.frombuffer(content, np.uint8).reshape(shape)


def _reconstruct(*_: Any) -> _ByteArray:
    """What NumPy's function of this name is called for: an array that is empty so far."""
    return _ByteArray()


class _BatchUnpickler(pickle.Unpickler):
    """Unpickles plain values and arrays of bytes.

    The names that a batch holds are those of stand-ins, so that a pickle calls nothing but them.
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
