"""The `multiscale_digits` images, composed from scikit-learn's handwritten digits.

Everything is integer arithmetic on the raw output of a fixed random bit generator, so the bytes
are the same with every version of NumPy and on every machine.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablations.data.catalogue import Dataset
from ablations.data.files import Bytes

CANVAS = 32
"""Side of an image in pixels."""
SMALLEST, LARGEST = 8, 28
"""Range of the digits' side in pixels."""
FRAGMENTS = 5
"""Number of pieces of other digits scattered over each image."""
FRAGMENT_SIDE = 4
"""Side of such a piece in pixels."""
NOISE_STD = 40
"""Standard deviation of the noise; white is 255."""


def draw_digits(dataset: Dataset, _data_dir: Path) -> dict[str, Bytes]:
    """Draws images (N, 1, 32, 32), labels (N,) and the digits' sizes in pixels (N,) of each split.

    No original appears in both splits: a quarter of the 1,797 originals is reserved for the test
    images.
    """
    return _draw_splits(dataset, validation=False)


def draw_validation_digits(dataset: Dataset, _data_dir: Path) -> dict[str, Bytes]:
    """Like `draw_digits`, but of the training originals alone: a quarter of them is held out."""
    return _draw_splits(dataset, validation=True)


def _draw_splits(dataset: Dataset, *, validation: bool) -> dict[str, Bytes]:
    from sklearn.datasets import load_digits  # takes a second, and needed only to draw

    digits = load_digits()
    originals = digits.images.astype(np.int64)  # (1797, 8, 8), 0 to 16
    labels = digits.target.astype(np.uint8)
    order = np.argsort(_draw_raw(0, len(originals)), kind="stable")
    kept, held = _split_off_quarter(order)
    if validation:
        kept, held = _split_off_quarter(kept)
    stream = 10 if validation else 20
    train = _draw_split(originals[kept], labels[kept], dataset.train_size, stream=stream + 1)
    test = _draw_split(originals[held], labels[held], dataset.test_size, stream=stream + 2)
    splits = {"train": train, "test": test}
    return {f"{split}_{part}": a for split, parts in splits.items() for part, a in parts.items()}


def _split_off_quarter(order: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    quarter = len(order) // 4
    return order[quarter:], order[:quarter]


def _draw_raw(stream: int, count: int) -> NDArray[np.uint64]:
    raw: NDArray[np.uint64] = np.random.PCG64(stream).random_raw(count)
    return raw


def _draw_split(
    originals: NDArray[np.int64], labels: Bytes, count: int, *, stream: int
) -> dict[str, Bytes]:
    """Draws `count` images, cycling through the originals so that classes stay balanced."""
    words_per_image = 3 + 5 * FRAGMENTS
    choices = _draw_raw(stream, count * words_per_image).reshape(count, words_per_image)
    interpolations = {side: _interpolate(side) for side in range(SMALLEST, LARGEST + 1)}
    images = np.empty((count, 1, CANVAS, CANVAS), np.uint8)
    sizes = np.empty(count, np.uint8)
    for index in range(count):
        size, *place = (int(word) for word in choices[index])
        side = SMALLEST + size % (LARGEST - SMALLEST + 1)
        top, left = (word % (CANVAS - side + 1) for word in place[:2])
        canvas = _draw_clutter(originals, place[2:])
        window = canvas[top : top + side, left : left + side]
        matrix = interpolations[side]
        digit = matrix @ originals[index % len(originals)] @ matrix.T
        digit = digit * 255 // (16 * (2 * side) ** 2)
        window[...] = np.maximum(window * 3 // 10, digit)
        images[index, 0] = canvas
        sizes[index] = side
    _add_noise(images, stream=stream + 100)
    return {"images": images, "labels": np.resize(labels, count), "sizes": sizes}


def _interpolate(side: int) -> NDArray[np.int64]:
    """Bilinear upsampling of 8 pixels to `side`, as a (side, 8) matrix whose rows sum to 2 side.

    Pixel centres are aligned; the outermost pixel is repeated beyond the border.
    """
    matrix = np.zeros((side, 8), np.int64)
    for row in range(side):
        position = 8 * (2 * row + 1) - side  # in units of 1 / (2 side) of a source pixel
        lower, fraction = divmod(position, 2 * side)
        matrix[row, max(lower, 0)] += 2 * side - fraction
        matrix[row, min(lower + 1, 7)] += fraction
    return matrix


def _draw_clutter(originals: NDArray[np.int64], words: list[int]) -> NDArray[np.int64]:
    """Draws fragments of digits on an empty canvas, at seven tenths of full brightness."""
    canvas = np.zeros((CANVAS, CANVAS), np.int64)
    side, room = FRAGMENT_SIDE, CANVAS - FRAGMENT_SIDE + 1
    for start in range(0, 5 * FRAGMENTS, 5):
        which, source_top, source_left, top, left = words[start : start + 5]
        row, column = source_top % (8 - side + 1), source_left % (8 - side + 1)
        fragment = originals[which % len(originals), row : row + side, column : column + side]
        target = canvas[top % room :, left % room :][:side, :side]
        np.maximum(target, fragment * (255 * 7) // (16 * 10), out=target)
    return canvas


def _add_noise(images: Bytes, *, stream: int) -> None:
    """Adds nearly Gaussian noise in place: a sum of 12 random bytes has standard deviation 256."""
    generator = np.random.PCG64(stream)
    for image in images:
        words = generator.random_raw(12 * image.size // 8)
        octets = np.frombuffer(words.astype("<u8").tobytes(), np.uint8).reshape(12, *image.shape)
        noise = (octets.sum(axis=0, dtype=np.int64) - 12 * 255 // 2) * NOISE_STD >> 8
        image[...] = np.clip(image + noise, 0, 255)
