"""Brings a dataset into checked uint8 arrays on disk, once, and maps them into memory."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ablations.data.batches import Data, Split
from ablations.data.cifar import download_cifar10, read_cifar10
from ablations.data.digits import draw_digits
from ablations.datasets import Dataset
from ablations.errors import MachineError

Bytes = NDArray[np.uint8]
GPU_SHARE = 0.25
"""Largest part of a GPU's free memory that a dataset may take."""


def prepare_data(
    dataset: Dataset, *, data_dir: Path, cache_dir: Path, download: bool = False
) -> Path:
    """Writes the dataset's arrays below `cache_dir` unless they are there; returns their folder.

    The arrays are checked against the expected checksum every time, before anything trains.

    Raises:
        MachineError: If the dataset is missing, damaged, or not the one that was expected.
    """
    folder = _folder_of(dataset, cache_dir)
    if folder.is_dir():
        cached = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
        if compute_checksum(cached) == dataset.checksum:
            return folder
        shutil.rmtree(folder)  # a cache that was damaged is made anew
    arrays = _read_arrays(dataset, data_dir, download=download)
    found = compute_checksum(arrays)
    if found != dataset.checksum:
        raise MachineError(
            f"{dataset.name} must have the checksum {dataset.checksum}, got {found}. "
            f"The files under {data_dir} are damaged or not the published ones; fetch them again."
        )
    _write_arrays(arrays, folder)
    return folder


def load_data(dataset: Dataset, *, cache_dir: Path, device: torch.device) -> Data:
    """Maps the prepared arrays; on a GPU they are copied there if they fit.

    Raises:
        MachineError: If `prepare_data` has not been called for this dataset.
    """
    folder = _folder_of(dataset, cache_dir)
    if not folder.is_dir():
        raise MachineError(f"{folder} must hold the prepared {dataset.name}, got no such folder.")
    train, test = (
        Split(
            images=_map_tensor(folder / f"{split}_images.npy"),
            labels=_map_tensor(folder / f"{split}_labels.npy"),
        )
        for split in ("train", "test")
    )
    if device.type == "cuda":
        size = train.images.nbytes + test.images.nbytes
        if size < GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
            train, test = train.to(device), test.to(device)
    return Data(dataset=dataset, train=train, test=test)


def _folder_of(dataset: Dataset, cache_dir: Path) -> Path:
    return cache_dir / f"{dataset.name}-{(dataset.checksum or 'none')[:12]}"


def _read_arrays(dataset: Dataset, data_dir: Path, *, download: bool) -> Mapping[str, Bytes]:
    if dataset.name.startswith("multiscale_digits"):
        train, test = draw_digits(
            dataset.train_size, dataset.test_size, validation=dataset.name.endswith("validation")
        )
        return {
            f"{split}_{part}": getattr(drawn, part)
            for split, drawn in (("train", train), ("test", test))
            for part in ("images", "labels", "sizes")
        }
    if dataset.name == "cifar10":
        if download:
            download_cifar10(data_dir)
        return read_cifar10(data_dir)
    raise MachineError(
        f"{dataset.name} can be planned but not yet trained: its data path is not built. "
        "Choose another recipe."
    )


def compute_checksum(arrays: Mapping[str, Bytes]) -> str:
    """SHA-256 over names, shapes and bytes, so that it does not depend on a file format."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _write_arrays(arrays: Mapping[str, Bytes], folder: Path) -> None:
    """Writes all arrays, then makes them appear at once under their final name."""
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
        staging.rename(folder)
    except OSError:
        shutil.rmtree(staging, ignore_errors=True)
        if not folder.is_dir():  # unless another process wrote the same arrays meanwhile
            raise


def _map_tensor(path: Path) -> torch.Tensor:
    """Maps a file copy-on-write: read when used, shared among processes, never written back."""
    return torch.from_numpy(np.load(path, mmap_mode="c"))
