"""Identities of datasets that have no published checksum: folders of images, unpublished files.

Loads no torch, since plans need identities.
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
"""File name extensions of images, in lower case; other files are ignored."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of a folder."""

    classes: tuple[str, ...]
    """Names of the class folders, sorted; a label is an index into them."""

    train: tuple[str, ...]
    """Paths of the training images relative to the folder, sorted; empty if not asked for."""

    test: tuple[str, ...]
    """Paths of the images in val/ relative to the folder, sorted."""

    sha256: str
    """Hash of all paths with their sizes in bytes."""


def identify_dataset(dataset: Dataset, data_dir: Path) -> Dataset:
    """The dataset with the facts of the copy on this machine, unless they are constants.

    A copy that is missing or faulty is ignored: a plan does not need it, and `prepare_data`
    reports the fault before any training. The disk is read once, until `forget_datasets`.
    """
    if dataset.checksum is not None:
        return dataset
    return _identify_once(replace(dataset, found=None), data_dir.absolute())


def forget_datasets() -> None:
    """Makes `identify_dataset` read the disk again, which may hold another copy by now."""
    _identify_once.cache_clear()


@functools.cache  # many plans ask, and a folder may be large
def _identify_once(dataset: Dataset, data_dir: Path) -> Dataset:
    try:
        return inspect_dataset(dataset, data_dir)
    except MachineError:
        return dataset


def inspect_dataset(dataset: Dataset, data_dir: Path) -> Dataset:
    """Like `identify_dataset`, but always reads the disk and raises on faults.

    Raises:
        MachineError: If a folder of images is missing or faulty, or a file is unreadable.
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
    """The dataset with the classes, sizes and identity of a folder of images."""
    return replace(
        dataset,
        num_classes=len(listing.classes),
        train_size=len(listing.train),
        test_size=len(listing.test),
        found=listing.sha256,
    )


def scan_images(root: Path, *, with_train: bool = True) -> Listing:
    """Lists the images below `root`.

    Args:
        root: The folder.
        with_train: Whether to list the training images, too; evaluating a network needs none.

    Raises:
        MachineError: If a class has no images in train/ or in val/, or a folder is missing or
            unreadable.
    """
    splits = ("train", "val") if with_train else ("val",)
    wanted = f"images as {' and '.join(f'{split}/CLASS/' for split in splits)}"
    if not root.is_dir():
        raise MachineError(
            f"{root} must hold {wanted}, got no such folder. "
            "Put your copy there, or pass --data-dir."
        )
    try:
        classes = _list_classes(root / splits[0])
        _check_same(root, classes, _list_classes(root / "val"))
        files = {
            split: [entry for name in classes for entry in _list_class(root, split, name)]
            for split in splits
        }
    except OSError as error:
        raise MachineError(
            f"{error.filename} must be readable, got {error.strerror}. {root} must hold {wanted}."
        ) from error
    digest = hashlib.sha256()
    for path, size in sorted(entry for found in files.values() for entry in found):
        digest.update(f"{path}\t{size}\n".encode(errors="surrogateescape"))
    return Listing(
        classes=tuple(classes),
        train=tuple(sorted(path for path, _ in files.get("train", ()))),
        test=tuple(sorted(path for path, _ in files["val"])),
        sha256=digest.hexdigest(),
    )


def _list_classes(folder: Path) -> list[str]:
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not classes:
        raise MachineError(f"{folder} must hold one folder per class, got none.")
    return classes


def _check_same(root: Path, train: list[str], test: list[str]) -> None:
    if other := sorted(set(train) ^ set(test)):
        shown = ", ".join(other[:3]) + (", ..." if len(other) > 3 else "")
        raise MachineError(
            f"{root} must have the same classes in train/ and val/, got {len(other)} in only one "
            f"of them: {shown}. Sort the images into the folders of their classes."
        )


def _list_class(root: Path, split: str, name: str) -> list[tuple[str, int]]:
    """Paths below `root` and sizes in bytes of the images of one class."""
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
                f"{path} must be a readable file, got {error.strerror}. Download it again."
            ) from error
    return digest.hexdigest()
