"""Published files of a dataset: reading them, and downloading the missing ones."""

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablations.data.catalogue import Dataset
from ablations.errors import MachineError
from ablations.files import read_regular

Bytes = NDArray[np.uint8]

LARGEST_FILE = 2**28
"""Most bytes of a file, also once decompressed; the largest published one has 155 MB."""


def read_bytes(path: Path, *, title: str) -> bytes:
    """Reads a whole file and decompresses it if its name ends in `.gz`.

    Args:
        path: The file.
        title: Name of the dataset, for the message.

    Raises:
        MachineError: If the file is missing, unreadable, truncated or far too large.
    """
    try:
        content = read_regular(path, most=LARGEST_FILE)
        return _decompress(content) if path.suffix == ".gz" else content
    except OSError as error:
        reason = error.strerror or str(error)  # gzip's own errors have no number
    except (EOFError, ValueError, zlib.error) as error:
        reason = str(error)
    raise MachineError(
        f"{path} must be a readable file of {title}, got {reason}. Download it again."
    )


def _decompress(content: bytes) -> bytes:
    """Decompresses no more than a dataset's file may have: 10 MB may stand for 10 GB."""
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        plain = file.read(LARGEST_FILE + 1)
    if len(plain) > LARGEST_FILE:
        raise ValueError(f"more than {LARGEST_FILE:,} bytes once decompressed")
    return plain


def download_dataset(dataset: Dataset, data_dir: Path) -> None:
    """Downloads the published files through torchvision unless they exist.

    Raises:
        MachineError: If the download fails.
    """
    from torchvision import datasets  # seconds to import, and needed only here

    try:
        getattr(datasets, str(dataset.download))(str(data_dir), download=True)
    except (OSError, RuntimeError) as error:
        raise MachineError(
            f"{dataset.name} cannot be downloaded to {data_dir}: {type(error).__name__}: {error}. "
            "Put the files there by hand and omit --download."
        ) from error
