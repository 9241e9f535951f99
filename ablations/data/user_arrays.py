"""Arrays of a dataset that a user's function returned: checked, and described as a dataset.

Loads no torch, since plans need what is described here.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.data.catalogue import Dataset
from ablations.errors import suggest

Arrays = dict[str, NDArray[Any]]
"""Images (N, C, H, W) uint8 and labels (N,) int64 of both splits, by name."""

SPLITS = ("train", "test")
"""Parts of a dataset."""

KEYS = tuple(f"{split}_{part}" for split in SPLITS for part in ("images", "labels"))
"""Arrays that the function must return."""

FILES = "files"
"""Key of the files that the function read; they may be left out."""

CHUNK = 4096
"""Images that are counted at a time, to save memory."""


def check_arrays(name: str, returned: Any) -> Arrays:
    """The arrays in the form in which they are kept.

    Args:
        name: The function, for messages.
        returned: What it returned.

    Raises:
        ValueError: With all faults, one per line.
    """
    _raise_faults(name, _find_key_faults(returned))
    given = _read_values(name, returned)
    _raise_faults(name, (fault for key in KEYS for fault in _find_array_faults(key, given[key])))
    arrays = {key: _convert(key, given[key]) for key in KEYS}
    _raise_faults(name, _find_split_faults(arrays))
    _raise_faults(name, _find_class_faults(arrays))
    return {key: np.ascontiguousarray(array) for key, array in arrays.items()}


def describe_arrays(name: str, arrays: Arrays, *, checksum: str) -> Dataset:
    """The facts of a dataset, which depend on its arrays alone.

    Raises:
        ValueError: If a channel is constant, so that it cannot be normalised.
    """
    images = arrays["train_images"]
    mean, std = measure_channels(images)
    if 0 in std:
        raise ValueError(
            f"{name}: train_images must vary in each channel, got the same value everywhere in "
            f"channel {std.index(0)}; remove that channel"
        )
    return Dataset(
        name=name,
        channels=images.shape[1],
        image_size=images.shape[2],
        num_classes=int(arrays["train_labels"].max()) + 1,
        train_size=len(images),
        test_size=len(arrays["test_images"]),
        mean=mean,
        std=std,
        checksum=checksum,
    )


def measure_channels(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, on a scale from 0 (black) to 1 (white).

    Sums are exact integers, so that every machine gets the same numbers.

    Shapes:
        images: (N, C, H, W)

    >>> measure_channels(np.array([[[[0, 255]]], [[[255, 0]]]], np.uint8))
    ((0.5,), (0.5,))
    """
    levels = range(256)
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = [0] * 256
        for start in range(0, len(images), CHUNK):
            block = np.bincount(images[start : start + CHUNK, channel].ravel(), minlength=256)
            counts = [n + int(more) for n, more in zip(counts, block, strict=True)]
        total = sum(counts)
        first = sum(n * level for n, level in zip(counts, levels, strict=True))
        second = sum(n * level**2 for n, level in zip(counts, levels, strict=True))
        means.append(first / (255 * total))
        stds.append(math.sqrt(second * total - first**2) / (255 * total))
    return tuple(means), tuple(stds)


def _raise_faults(name: str, faults: Iterable[str]) -> None:
    if lines := [f"{name}: {fault}" for fault in faults]:
        raise ValueError("\n".join(lines))


def _read_values(name: str, returned: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the mapping, each read once: an archive reads them from its file."""
    try:
        return {key: returned[key] for key in KEYS}
    except Exception as error:  # an archive that was closed or is damaged may raise anything
        raise ValueError(
            f"{name}: the arrays must be readable, got {type(error).__name__}: {error}; return "
            "arrays in a dict"
        ) from error


def _find_key_faults(returned: Any) -> Iterator[str]:
    wanted = ", ".join(KEYS)
    if not isinstance(returned, Mapping):
        yield f"must return a mapping with {wanted}, got {type(returned).__name__}"
        return
    known = {*KEYS, FILES}
    for key in returned:
        if key not in known:
            yield f"must return a mapping with {wanted}, got {key!r}{suggest(str(key), known)}"
    for key in KEYS:
        if key not in returned:
            yield f"must return a mapping with {wanted}, got no {key}"


def _find_array_faults(key: str, array: Any) -> Iterator[str]:
    """Faults of one array on its own."""
    if type(array) not in (np.ndarray, np.memmap):
        found = type(array).__name__
        yield f"{key} must be a NumPy array, got {found}; convert it with numpy.asarray"
    elif key.endswith("labels"):
        if array.ndim != 1:
            yield f"{key} must have the shape (N,), got {array.shape}"
        if not np.issubdtype(array.dtype, np.integer):
            yield f"{key} must be integers, got {_describe_values(array)}"
    else:
        yield from _find_image_faults(key, array)


def _find_image_faults(key: str, array: NDArray[Any]) -> Iterator[str]:
    rule = f"{key} must have the shape (N, C, H, H) with 1 or 3 channels, or (N, H, H)"
    if array.ndim not in (3, 4):
        yield f"{rule}, got {array.shape}"
    elif array.ndim == 4 and array.shape[1] not in (1, 3):
        is_last = array.shape[3] in (1, 3)
        hint = "; put the channels first with .transpose(0, 3, 1, 2)" if is_last else ""
        yield f"{rule}, got {array.shape}{hint}"
    elif array.shape[-2] != array.shape[-1]:
        yield f"{key} must be square, got {array.shape[-2]}x{array.shape[-1]} pixels; crop or pad"
    elif array.size == 0:
        yield f"{key} must hold at least one image, got {array.shape}"
    if array.dtype != np.uint8:
        yield (
            f"{key} must be uint8 from 0 (black) to 255, got {_describe_values(array)}; scale, "
            "round and convert with .astype(numpy.uint8)"
        )


def _describe_values(array: NDArray[Any]) -> str:
    """The type of an array and the range of its values."""
    if array.size == 0 or array.dtype.kind not in "iuf":
        return str(array.dtype)
    if count := int(np.count_nonzero(array != array)):  # NaN alone differs from itself
        return f"{array.dtype} with {count} NaN"
    return f"{array.dtype} from {array.min():g} to {array.max():g}"


def _convert(key: str, array: NDArray[Any]) -> NDArray[Any]:
    """Images with an axis of channels; labels as they are."""
    return array[:, None] if key.endswith("images") and array.ndim == 3 else np.asarray(array)


def _find_split_faults(arrays: Arrays) -> Iterator[str]:
    """Faults of arrays that do not fit each other."""
    for split in SPLITS:
        images, labels = len(arrays[f"{split}_images"]), len(arrays[f"{split}_labels"])
        if images != labels:
            yield f"{split}_labels must hold one label per image, got {labels} of {images} images"
    train, test = (arrays[f"{split}_images"].shape[1:] for split in SPLITS)
    if train != test:
        yield (
            f"test_images must have the shape of train_images, {_join(train)}, got {_join(test)}; "
            "resize them"
        )


def _find_class_faults(arrays: Arrays) -> Iterator[str]:
    """Faults of labels, which number the classes; converts them if there are none."""
    train, test = (np.unique(arrays[f"{split}_labels"]) for split in SPLITS)
    for split, found in zip(SPLITS, (train, test), strict=True):
        if found[0] < 0:
            yield f"{split}_labels must be 0 or more, got {found[0]}"
            return
    if unknown := sorted({*test.tolist()} - {*train.tolist()}):
        yield f"test_labels must be classes that have training images, got {_join(unknown, ', ')}"
    gaps = np.flatnonzero(train != np.arange(len(train)))
    if len(gaps):
        yield (
            f"train_labels must number the classes from 0 without gaps, got {train[-1]} but no "
            f"{gaps[0]}; renumber them, as numpy.unique(labels, return_inverse=True) does"
        )
    elif len(train) < 2:
        yield "train_labels must have at least two classes, got one"
    for split in SPLITS:
        arrays[f"{split}_labels"] = arrays[f"{split}_labels"].astype(np.int64)


def _join(values: Sequence[int], separator: str = "x") -> str:
    shown = separator.join(map(str, values[:5]))
    return f"{shown}, ..." if len(values) > 5 else shown
