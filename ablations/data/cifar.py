"""CIFAR-10 as its authors publish it: the binary layout and the Python layout."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.errors import MachineError

Bytes = NDArray[np.uint8]

BINARY, PYTHON = "cifar-10-batches-bin", "cifar-10-batches-py"
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCHES = ("test_batch",)
PIXELS = 3 * 32 * 32


def read_cifar10(data_dir: Path) -> dict[str, Bytes]:
    """Reads the images (N, 3, 32, 32) and labels (N,) of both splits.

    Raises:
        MachineError: If neither layout is there, or a file is missing, truncated or unreadable.
    """
    if (data_dir / BINARY).is_dir():
        read, folder, suffix = _read_binary_batch, data_dir / BINARY, ".bin"
    elif (data_dir / PYTHON).is_dir():
        read, folder, suffix = _read_python_batch, data_dir / PYTHON, ""
    else:
        raise MachineError(
            f"{data_dir} must hold CIFAR-10 as a folder {BINARY} or {PYTHON}, got neither. "
            "Unpack its archive there, pass --data-dir, or let --download fetch it."
        )
    arrays: dict[str, Bytes] = {}
    for split, names in (("train", TRAIN_BATCHES), ("test", TEST_BATCHES)):
        batches = [read(folder / f"{name}{suffix}") for name in names]
        arrays[f"{split}_images"] = np.concatenate([images for images, _ in batches])
        arrays[f"{split}_labels"] = np.concatenate([labels for _, labels in batches])
    return arrays


def download_cifar10(data_dir: Path) -> None:
    """Fetches the Python layout through torchvision.

    Raises:
        MachineError: If the download fails.
    """
    from torchvision.datasets import CIFAR10  # seconds to import, and only needed here

    try:
        CIFAR10(str(data_dir), download=True)
    except (OSError, RuntimeError) as error:
        raise MachineError(
            f"cifar10 must be downloaded to {data_dir}, got {type(error).__name__}: {error}. "
            "Put the files there by hand and leave out --download."
        ) from error


def _read_binary_batch(path: Path) -> tuple[Bytes, Bytes]:
    """One label byte and 3,072 pixel bytes an image: red, green, blue, each row by row."""
    content = np.frombuffer(_read_bytes(path), np.uint8)
    if content.size == 0 or content.size % (1 + PIXELS):
        raise MachineError(
            f"{path} must hold a whole number of records of {1 + PIXELS} bytes, got "
            f"{content.size} bytes. Fetch the file again."
        )
    records = content.reshape(-1, 1 + PIXELS)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def _read_python_batch(path: Path) -> tuple[Bytes, Bytes]:
    """A pickled dictionary with `data` (N, 3072) and `labels`, written by Python 2."""
    try:
        batch = _ArrayUnpickler(io.BytesIO(_read_bytes(path)), encoding="bytes").load()
        images = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32)
        labels = np.asarray(batch[b"labels"], np.uint8)
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise MachineError(
            f"{path} must be a batch of CIFAR-10 for Python, got {type(error).__name__}: {error}. "
            "Fetch the file again."
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


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MachineError(
            f"{path} must be a readable file of CIFAR-10, got {error.strerror}. Fetch it again."
        ) from error
