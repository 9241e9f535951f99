"""Brings a dataset into checked uint8 arrays on disk, once, and maps them into memory."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ablations.data.batches import ArraySplit, Data
from ablations.data.catalogue import Dataset
from ablations.data.cifar import CIFAR10, CIFAR100, read_cifar
from ablations.data.digits import draw_digits
from ablations.data.fashion_mnist import read_fashion_mnist
from ablations.data.files import Bytes, download_dataset
from ablations.data.identification import describe_folder, look_again, scan_images
from ablations.data.image_folder import build_splits, list_arrays
from ablations.errors import MachineError

GPU_SHARE = 0.25
"""Largest part of a GPU's free memory that a dataset may take."""

CHECKSUM_FILE = "checksum.txt"
"""Beside the prepared arrays: their checksum, which serves where none is pinned."""


def prepare_data(
    dataset: Dataset, *, data_dir: Path, cache_dir: Path, download: bool = False
) -> Path:
    """Writes the dataset's arrays below `cache_dir` unless they are there; returns their folder.

    The arrays are checked against the expected checksum every time, before anything trains. Of a
    folder of images only the list of files is written.

    Raises:
        MachineError: If the dataset is missing, damaged, or not the one that was expected.
    """
    folder = cache_dir / dataset.cache_name
    if dataset.is_folder:
        _prepare_list(dataset, data_dir / dataset.name, folder)
        return folder
    if folder.is_dir():
        cached = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
        if compute_checksum(cached) == _expect_checksum(dataset, folder):
            return folder
        shutil.rmtree(folder)  # a cache that was damaged is made anew
    arrays = _read_arrays(dataset, data_dir, download=download)
    found = compute_checksum(arrays)
    _check_content(dataset, arrays, data_dir, checksum=found)
    _write_arrays(arrays, folder, checksum=found)
    return folder


def load_data(dataset: Dataset, *, cache_dir: Path, device: torch.device, workers: int = 0) -> Data:
    """Maps the prepared arrays; on a GPU they are copied there if they fit.

    Args:
        dataset: What to load.
        cache_dir: Where `prepare_data` wrote it.
        device: Where it is used.
        workers: Processes that decode a folder of images; 0 for this one.

    Raises:
        MachineError: If `prepare_data` has not been called for this dataset.
    """
    folder = cache_dir / dataset.cache_name
    if not folder.is_dir():
        raise MachineError(f"{folder} must hold the prepared {dataset.name}, got no such folder.")
    if dataset.is_folder:
        files = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
        return Data(
            dataset=dataset,
            **build_splits(files, image_size=dataset.image_size, workers=workers),
        )
    train, test = (
        ArraySplit(
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
    if download:
        download_dataset(dataset.name, data_dir)
    if dataset.name == "fashion_mnist":
        return read_fashion_mnist(data_dir)
    cifar = {"cifar10": CIFAR10, "cifar100": CIFAR100}[dataset.name]
    return read_cifar(cifar, data_dir, md5=dict(dataset.published_md5))


def _prepare_list(dataset: Dataset, root: Path, folder: Path) -> None:
    """Writes the list of a folder's images, unless it is there and the folder has not moved."""
    listing = scan_images(root)
    _check_identity(dataset, describe_folder(dataset, listing), root)
    arrays = list_arrays(root, listing)
    if folder.is_dir():
        cached = {path.stem: np.load(path) for path in folder.glob("*.npy")}
        if cached.keys() == arrays.keys() and all(
            np.array_equal(cached[name], arrays[name]) for name in arrays
        ):
            return
        shutil.rmtree(folder)
    _write_arrays(arrays, folder)


def _check_identity(dataset: Dataset, there: Dataset, place: Path) -> None:
    if there.identity != dataset.identity:
        raise MachineError(
            f"{place} must hold what the plan found, {dataset.identity}, got {there.identity}. "
            "It was changed meanwhile; run again."
        )


def _expect_checksum(dataset: Dataset, folder: Path) -> str | None:
    """The pinned checksum, or the one that was measured when checked files were read."""
    if dataset.checksum is not None:
        return dataset.checksum
    path = folder / CHECKSUM_FILE
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def _check_content(
    dataset: Dataset, arrays: Mapping[str, Bytes], data_dir: Path, *, checksum: str
) -> None:
    """Makes sure that what was read is the published dataset, as far as that is known."""
    if dataset.checksum is None:
        _check_identity(dataset, look_again(dataset, data_dir), data_dir)
        _check_counts(dataset, arrays, data_dir)
    elif checksum != dataset.checksum:
        raise MachineError(
            f"{dataset.name} must have the checksum {dataset.checksum}, got {checksum}. "
            f"The files under {data_dir} are damaged or not the published ones; fetch them again."
        )


def _check_counts(dataset: Dataset, arrays: Mapping[str, Bytes], data_dir: Path) -> None:
    """The published number of images, and the same of each class."""
    for split, size in (("train", dataset.train_size), ("test", dataset.test_size)):
        counts = np.bincount(arrays[f"{split}_labels"], minlength=dataset.num_classes)
        if counts.tolist() != [size // dataset.num_classes] * dataset.num_classes:
            raise MachineError(
                f"{dataset.name} must have {size // dataset.num_classes} {split} images of each "
                f"of {dataset.num_classes} classes, got {counts.min()} to {counts.max()} of "
                f"{len(counts)}. The files under {data_dir} are damaged or not the published "
                "ones; fetch them again."
            )


def compute_checksum(arrays: Mapping[str, Bytes]) -> str:
    """SHA-256 over names, shapes and bytes, so that it does not depend on a file format."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _write_arrays(
    arrays: Mapping[str, NDArray[Any]], folder: Path, *, checksum: str | None = None
) -> None:
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
        if checksum is not None:
            (staging / CHECKSUM_FILE).write_text(f"{checksum}\n", encoding="utf-8")
        staging.rename(folder)
    except OSError:
        shutil.rmtree(staging, ignore_errors=True)
        if not folder.is_dir():  # unless another process wrote the same arrays meanwhile
            raise


def _map_tensor(path: Path) -> torch.Tensor:
    """Maps a file copy-on-write: read when used, shared among processes, never written back."""
    return torch.from_numpy(np.load(path, mmap_mode="c"))
