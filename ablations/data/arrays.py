"""Prepares a dataset once as verified uint8 arrays on disk, and maps them into memory."""

from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import torch

from ablations.data.batches import ArraySplit, Data
from ablations.data.catalogue import Dataset
from ablations.data.files import Bytes, download_dataset
from ablations.data.identification import describe_folder, inspect_dataset, scan_images
from ablations.data.image_folder import build_splits, list_arrays
from ablations.data.prepared import (
    CHECKSUM_FILE,
    compute_checksum,
    map_arrays,
    remove_path,
    write_arrays,
)
from ablations.errors import MachineError

GPU_SHARE = 0.25
"""Largest share of a GPU's free memory that a dataset may occupy."""


def prepare_data(
    dataset: Dataset, *, data_dir: Path, cache_dir: Path, download: bool = False
) -> Path:
    """Writes the dataset's arrays below `cache_dir` unless they exist; returns their folder.

    The arrays are verified against the expected checksum every time, before any training. For a
    folder of images only the list of files is written. A dataset of the user's own is only
    verified, since the plan has written its arrays.

    Raises:
        MachineError: If the dataset is missing, damaged, or not the expected one.
    """
    folder = cache_dir / dataset.cache_name
    if dataset.is_folder:
        _prepare_list(dataset, data_dir / dataset.name, folder)
        return folder
    if folder.is_dir() and compute_checksum(map_arrays(folder)) == _expect_checksum(
        dataset, folder
    ):
        return folder
    remove_path(folder)  # damaged
    if dataset.is_own:
        raise MachineError(
            f"{folder} must hold the images of {dataset.name}, but they were damaged or removed "
            "after planning. Run the command again: it loads them anew."
        )
    arrays = _read_arrays(dataset, data_dir, download=download)
    found = compute_checksum(arrays)
    _check_content(dataset, arrays, data_dir, checksum=found)
    write_arrays(arrays, folder, checksum=found)
    return folder


def load_data(dataset: Dataset, *, cache_dir: Path, device: torch.device, workers: int = 0) -> Data:
    """Maps the prepared arrays; copies them to a GPU if they fit.

    Args:
        dataset: The dataset.
        cache_dir: Folder that was passed to `prepare_data`.
        device: Device that the images are used on.
        workers: Processes that decode a folder of images; 0 decodes in this one.

    Raises:
        MachineError: If `prepare_data` was not called for this dataset.
    """
    folder = cache_dir / dataset.cache_name
    if not folder.is_dir():
        raise MachineError(f"{folder} must hold the prepared {dataset.name}, got no such folder.")
    if dataset.is_folder:
        splits = build_splits(map_arrays(folder), image_size=dataset.image_size, workers=workers)
        return Data(dataset=dataset, **splits)
    train, test = (
        ArraySplit(
            images=_map_tensor(folder / f"{split}_images.npy"),
            labels=_map_tensor(folder / f"{split}_labels.npy"),
            object_sizes=_map_sizes(folder / f"{split}_sizes.npy"),
        )
        for split in ("train", "test")
    )
    if device.type == "cuda":
        size = train.images.nbytes + test.images.nbytes
        if size < GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
            train, test = train.to(device), test.to(device)
    return Data(dataset=dataset, train=train, test=test)


def _read_arrays(dataset: Dataset, data_dir: Path, *, download: bool) -> Mapping[str, Bytes]:
    if download and dataset.download is not None:
        download_dataset(dataset, data_dir)
    read: Callable[[Dataset, Path], Mapping[str, Bytes]] = resolve_name(dataset.reader)
    return read(dataset, data_dir)


def _prepare_list(dataset: Dataset, root: Path, folder: Path) -> None:
    """Writes the list of a folder's images, unless it exists and the folder has not moved."""
    listing = scan_images(root)
    _check_identity(dataset, describe_folder(dataset, listing), root)
    arrays = list_arrays(root, listing)
    if folder.is_dir():
        cached = map_arrays(folder)
        if cached.keys() == arrays.keys() and all(
            np.array_equal(cached[name], array) for name, array in arrays.items()
        ):
            return
    remove_path(folder)
    write_arrays(arrays, folder)


def _check_identity(dataset: Dataset, there: Dataset, place: Path) -> None:
    if there.identity != dataset.identity:
        raise MachineError(
            f"{place} must hold the images that the plan found, {dataset.identity}, got "
            f"{there.identity}. They changed in the meantime; run the command again."
        )


def _expect_checksum(dataset: Dataset, folder: Path) -> str | None:
    """The pinned checksum, or the one measured when the published files were read."""
    if dataset.checksum is not None:
        return dataset.checksum
    path = folder / CHECKSUM_FILE
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else None


def _check_content(
    dataset: Dataset, arrays: Mapping[str, Bytes], data_dir: Path, *, checksum: str
) -> None:
    """Verifies that the arrays are the published dataset, as far as that is known."""
    if dataset.checksum is None:
        _check_identity(dataset, inspect_dataset(dataset, data_dir), data_dir)
        _check_counts(dataset, arrays, data_dir)
    elif checksum != dataset.checksum:
        raise MachineError(
            f"{dataset.name} must have the checksum {dataset.checksum}, got {checksum}. The files "
            f"under {data_dir} are damaged or not the published ones; download them again."
        )


def _check_counts(dataset: Dataset, arrays: Mapping[str, Bytes], data_dir: Path) -> None:
    """Verifies the published number of images, the same for each class."""
    for split, size in (("train", dataset.train_size), ("test", dataset.test_size)):
        counts = np.bincount(arrays[f"{split}_labels"], minlength=dataset.num_classes)
        if counts.tolist() != [size // dataset.num_classes] * dataset.num_classes:
            raise MachineError(
                f"{dataset.name} must have {size // dataset.num_classes} {split} images in each of "
                f"{dataset.num_classes} classes, got {counts.min()} to {counts.max()} in "
                f"{len(counts)} classes. The files under {data_dir} are damaged or not the "
                "published ones; download them again."
            )


def _map_tensor(path: Path) -> torch.Tensor:
    """Maps a file copy-on-write: read on demand, shared by processes, never written back."""
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def _map_sizes(path: Path) -> torch.Tensor | None:
    """Maps the sizes of the objects, which few datasets know."""
    return _map_tensor(path) if path.is_file() else None
