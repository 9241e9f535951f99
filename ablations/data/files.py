"""What the readers of published files share: reading them, and fetching what is missing."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablations.errors import MachineError

Bytes = NDArray[np.uint8]

TORCHVISION_NAMES = {"fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}
"""Datasets that torchvision can download, with its names for them."""


def read_bytes(path: Path, *, title: str) -> bytes:
    """Reads a whole file; one that ends in `.gz` is unpacked.

    Args:
        path: The file.
        title: The dataset's name, for the message.

    Raises:
        MachineError: If it is missing, unreadable, or cut short.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except OSError as error:
        reason = error.strerror or str(error)  # gzip's own errors have no number
    except (EOFError, zlib.error) as error:
        reason = str(error)
    raise MachineError(f"{path} must be a readable file of {title}, got {reason}. Fetch it again.")


def download_dataset(name: str, data_dir: Path) -> None:
    """Fetches a dataset's published files through torchvision, unless they are there.

    Raises:
        MachineError: If the download fails.
    """
    from torchvision import datasets  # seconds to import, and only needed here

    try:
        getattr(datasets, TORCHVISION_NAMES[name])(str(data_dir), download=True)
    except (OSError, RuntimeError) as error:
        raise MachineError(
            f"{name} must be downloaded to {data_dir}, got {type(error).__name__}: {error}. "
            "Put the files there by hand and leave out --download."
        ) from error
