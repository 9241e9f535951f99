"""Fashion-MNIST as its authors publish it: four idx files, plain or compressed."""

import math
import struct
from pathlib import Path

import numpy as np

from ablations.data.catalogue import Dataset
from ablations.data.files import Bytes, read_bytes
from ablations.errors import MachineError

FOLDER = Path("FashionMNIST", "raw")
PREFIXES = {"train": "train", "test": "t10k"}
TITLE = "Fashion-MNIST"


def read_fashion_mnist(_dataset: Dataset, data_dir: Path) -> dict[str, Bytes]:
    """Reads the images (N, 1, 28, 28) and labels (N,) of both splits.

    Raises:
        MachineError: If the folder or a file is missing, or a file is truncated or unreadable.
    """
    folder = data_dir / FOLDER
    if not folder.is_dir():
        raise MachineError(
            f"{data_dir} must hold {TITLE} in a folder {FOLDER}, got no such folder. "
            "Put its files there, or pass --data-dir or --download."
        )
    arrays: dict[str, Bytes] = {}
    for split, prefix in PREFIXES.items():
        images = _read_idx(folder / f"{prefix}-images-idx3-ubyte", dimensions=3)
        arrays[f"{split}_images"] = images[:, None]
        arrays[f"{split}_labels"] = _read_idx(folder / f"{prefix}-labels-idx1-ubyte", dimensions=1)
    return arrays


def read_validation(dataset: Dataset, data_dir: Path) -> dict[str, Bytes]:
    """Reads the training images, the last `dataset.test_size` of which become the test images.

    Raises:
        MachineError: See `read_fashion_mnist`.
    """
    arrays = read_fashion_mnist(dataset, data_dir)
    for kind in ("images", "labels"):
        values = arrays[f"train_{kind}"]
        arrays[f"train_{kind}"] = values[: -dataset.test_size]
        arrays[f"test_{kind}"] = values[-dataset.test_size :]
    return arrays


def _read_idx(path: Path, *, dimensions: int) -> Bytes:
    """Reads two zeros, the type (8: bytes), the number of sizes, the 4-byte sizes, the values."""
    if not path.exists():
        packed = path.with_name(f"{path.name}.gz")
        path = packed if packed.exists() else path
    content = read_bytes(path, title=TITLE)
    start = 4 + 4 * dimensions
    if content[:4] != bytes((0, 0, 8, dimensions)) or len(content) < start:
        raise MachineError(
            f"{path} must be an idx file of bytes in {dimensions} dimension(s), got one that "
            f"starts with {content[:4].hex(' ') or 'nothing'}. Download it again."
        )
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    values = np.frombuffer(content, np.uint8, offset=start)
    if values.size == 0 or values.size != math.prod(shape):
        raise MachineError(
            f"{path} must hold {' x '.join(map(str, shape))} bytes, as its header says, got "
            f"{values.size}. Download it again."
        )
    return values.reshape(shape)
