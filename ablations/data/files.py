"""Published files of a dataset: reading them, and downloading the missing ones."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablations.data.catalogue import Dataset
from ablations.errors import MachineError

Bytes = NDArray[np.uint8]


def read_bytes(path: Path, *, title: str) -> bytes:
    """Reads a whole file and decompresses it if its name ends in `.gz`.

    Args:
        path: The file.
        title: Name of the dataset, for the message.

    Raises:
        MachineError: If the file is missing, unreadable or truncated.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except OSError as error:
        reason = error.strerror or str(error)  # gzip's own errors have no number
    except (EOFError, zlib.error) as error:
        reason = str(error)
    raise MachineError(
        f"{path} must be a readable file of {title}, got {reason}. Download it again."
    )


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
