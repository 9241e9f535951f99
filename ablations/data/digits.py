"""The `multiscale_digits` images, made from scikit-learn's handwritten digits.

Everything is integer arithmetic on the raw output of a fixed random bit generator, so the bytes
are the same with every version of NumPy and on every machine.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

CANVAS = 32
"""Side of an image in pixels."""
SMALLEST, LARGEST = 8, 28
"""Range of the digits' side in pixels."""
FRAGMENTS = 5
"""Pieces of other digits strewn over each image."""
FRAGMENT_SIDE = 4
"""Side of such a piece in pixels."""
NOISE_STD = 40
"""Standard deviation of the noise, white being 255."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Images with their labels and the size of the object that each shows."""

    images: Bytes
    """(N, 1, 32, 32)"""
    labels: Bytes
    """(N,)"""
    sizes: Bytes
    """(N,), side of the digit in pixels"""


def draw_digits(train_size: int, test_size: int, *, validation: bool) -> tuple[Drawn, Drawn]:
    """Draws training and test images; no original serves both.

    A quarter of the 1,797 originals is kept for the test images. With `validation` those are
    left out, and a quarter of the others takes their place.
    """
    from sklearn.datasets import load_digits  # only when the images are made: it takes a second

    digits = load_digits()
    originals = digits.images.astype(np.int64)  # (1797, 8, 8), 0 to 16
    order = np.argsort(_draw_raw(0, len(originals)), kind="stable")
    kept, held = _split_off_quarter(order)
    if validation:
        kept, held = _split_off_quarter(kept)
    labels = digits.target.astype(np.uint8)
    stream = 10 if validation else 20
    return (
        _draw_split(originals[kept], labels[kept], train_size, stream=stream + 1),
        _draw_split(originals[held], labels[held], test_size, stream=stream + 2),
    )


def _split_off_quarter(order: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    quarter = len(order) // 4
    return order[quarter:], order[:quarter]


def _draw_raw(stream: int, count: int) -> NDArray[np.uint64]:
    raw: NDArray[np.uint64] = np.random.PCG64(stream).random_raw(count)
    return raw


def _draw_split(originals: NDArray[np.int64], labels: Bytes, count: int, *, stream: int) -> Drawn:
    """Draws `count` images, taking the originals in turn so that classes stay balanced."""
    words_per_image = 3 + 5 * FRAGMENTS
    choices = _draw_raw(stream, count * words_per_image).reshape(count, words_per_image)
    interpolations = {side: _interpolation(side) for side in range(SMALLEST, LARGEST + 1)}
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
    return Drawn(images=images, labels=np.resize(labels, count), sizes=sizes)


def _interpolation(side: int) -> NDArray[np.int64]:
    """Bilinear enlargement of 8 pixels to `side`, as a (side, 8) matrix whose rows sum to 2 side.

    Pixel centres are aligned; beyond the border the outermost pixel goes on.
    """
    matrix = np.zeros((side, 8), np.int64)
    for row in range(side):
        position = 8 * (2 * row + 1) - side  # in units of 1 / (2 side) of a source pixel
        lower, fraction = divmod(position, 2 * side)
        matrix[row, max(lower, 0)] += 2 * side - fraction
        matrix[row, min(lower + 1, 7)] += fraction
    return matrix


def _draw_clutter(originals: NDArray[np.int64], words: list[int]) -> NDArray[np.int64]:
    """An empty canvas with fragments of digits at seven tenths of full brightness."""
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
    """Adds nearly Gaussian noise in place: the sum of 12 random bytes has deviation 256."""
    generator = np.random.PCG64(stream)
    for image in images:
        words = generator.random_raw(12 * image.size // 8)
        octets = np.frombuffer(words.astype("<u8").tobytes(), np.uint8).reshape(12, *image.shape)
        noise = (octets.sum(axis=0, dtype=np.int64) - 12 * 255 // 2) * NOISE_STD >> 8
        image[...] = np.clip(image + noise, 0, 255)
