"""Datasets that are known only by what is on this machine: a folder of images, unpublished files.

Loads no torch: a plan needs their identity.
"""

import functools
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ablations.data.catalogue import Dataset
from ablations.errors import MachineError

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
"""Endings of images, in small letters; other files are passed over."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of a folder."""

    classes: tuple[str, ...]
    """Names of the classes' folders, sorted; a label is a position among them."""

    train: tuple[str, ...]
    """Paths of the training images below the folder, sorted."""

    test: tuple[str, ...]
    """Paths of the images in val/, sorted."""

    sha256: str
    """Of all paths with their sizes in bytes."""


def identify_dataset(dataset: Dataset, data_dir: Path) -> Dataset:
    """The dataset with the facts of the copy on this machine, if they are not constants.

    If it is not there, or has faults, nothing is put in: a plan does not need it, and
    `prepare_data` says what is wrong before anything trains.
    """
    if dataset.checksum is not None:
        return dataset
    return _look(replace(dataset, found=None), data_dir.absolute())


@functools.cache
def _look(dataset: Dataset, data_dir: Path) -> Dataset:
    """Kept for the life of the process, since many plans ask, and a folder may be large."""
    try:
        return look_again(dataset, data_dir)
    except MachineError:
        return dataset


def look_again(dataset: Dataset, data_dir: Path) -> Dataset:
    """What `identify_dataset` returns, but read anew, and faults are raised.

    Raises:
        MachineError: If a folder of images is missing or has faults, or a file is unreadable.
    """
    if dataset.is_folder:
        return describe_folder(dataset, scan_images(data_dir / dataset.name))
    published = [data_dir / name for name, _ in dataset.published_md5]
    unpublished = [data_dir / name for name in dataset.unpublished]
    if any(path.parent.is_dir() for path in published) or not unpublished:
        return dataset
    if not all(path.is_file() for path in unpublished):
        return dataset
    return replace(dataset, found=_hash_files(unpublished))


def describe_folder(dataset: Dataset, listing: Listing) -> Dataset:
    """The dataset with the classes, sizes and identity of a folder."""
    return replace(
        dataset,
        num_classes=len(listing.classes),
        train_size=len(listing.train),
        test_size=len(listing.test),
        found=listing.sha256,
    )


def scan_images(root: Path) -> Listing:
    """Lists the images below `root`, and checks that every class has some in train/ and in val/.

    Raises:
        MachineError: If that does not hold, or a folder is missing or unreadable.
    """
    if not root.is_dir():
        raise MachineError(
            f"{root} must hold images as train/CLASS/ and val/CLASS/, got no such folder. "
            "Put your copy there, or pass --data-dir."
        )
    try:
        classes = _list_classes(root / "train")
        _check_same(root, classes, _list_classes(root / "val"))
        files = {
            split: [entry for name in classes for entry in _list_class(root, split, name)]
            for split in ("train", "val")
        }
    except OSError as error:
        raise MachineError(
            f"{error.filename} must be there and readable, got {error.strerror}. "
            f"{root} must hold images as train/CLASS/ and val/CLASS/."
        ) from error
    digest = hashlib.sha256()
    for path, size in sorted([*files["train"], *files["val"]]):
        digest.update(f"{path}\t{size}\n".encode(errors="surrogateescape"))
    return Listing(
        classes=tuple(classes),
        train=tuple(sorted(path for path, _ in files["train"])),
        test=tuple(sorted(path for path, _ in files["val"])),
        sha256=digest.hexdigest(),
    )


def _list_classes(folder: Path) -> list[str]:
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not classes:
        raise MachineError(f"{folder} must hold a folder for each class, got none.")
    return classes


def _check_same(root: Path, train: list[str], test: list[str]) -> None:
    if other := sorted(set(train) ^ set(test)):
        shown = ", ".join(other[:3]) + (", ..." if len(other) > 3 else "")
        raise MachineError(
            f"{root} must have the same classes in train/ and val/, got {len(other)} in one of "
            f"them only: {shown}. Sort the images into the folders of their classes."
        )


def _list_class(root: Path, split: str, name: str) -> list[tuple[str, int]]:
    """The paths below `root` and the sizes of a class's images."""
    found = list(_walk(root / split / name))
    if not found:
        raise MachineError(f"{root / split / name} must hold images, got none.")
    for path, size in found:
        if size == 0:
            raise MachineError(f"{path} must be an image, got an empty file. Copy it again.")
    start = len(str(root)) + 1
    return [(path[start:].replace(os.sep, "/"), size) for path, size in found]


def _walk(folder: Path | str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _walk(entry.path)
            elif entry.name.lower().endswith(SUFFIXES):
                yield entry.path, entry.stat().st_size


def _hash_files(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise MachineError(
                f"{path} must be a readable file, got {error.strerror}. Fetch it again."
            ) from error
    return digest.hexdigest()
