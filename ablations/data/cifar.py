"""CIFAR-10 and CIFAR-100 as their authors publish them: the binary and the Python layout."""

import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablations.data.files import Bytes, read_bytes
from ablations.errors import MachineError

PIXELS = 3 * 32 * 32
UNPICKLING_ERRORS = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError),
    *(LookupError, TypeError, ValueError, OverflowError),
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


def read_cifar(cifar: Cifar, data_dir: Path) -> dict[str, Bytes]:
    """Reads the images (N, 3, 32, 32) and labels (N,) of both splits.

    If both layouts are there the Python one is read.

    Raises:
        MachineError: If neither layout is there, or a file is missing, truncated or unreadable.
    """
    if (data_dir / cifar.python).is_dir():
        read, folder, suffix = _read_python_batch, data_dir / cifar.python, ""
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


def _read_python_batch(cifar: Cifar, path: Path) -> tuple[Bytes, Bytes]:
    """A pickled dictionary with `data` (N, 3072) and the labels, written by Python 2."""
    content = read_bytes(path, title=cifar.title)
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        images = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32)
        labels = np.asarray(batch[cifar.label_key], np.uint8)
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


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and plain containers; any other class is refused, not run."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {"_reconstruct", "ndarray", "dtype", "_frombuffer", "encode"}
        if name in allowed and module.split(".")[0] in ("numpy", "_codecs"):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"refused to load {module}.{name}")
