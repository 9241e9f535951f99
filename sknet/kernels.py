"""Compiled loops over feature maps, for `sknet.fused`.

Feature maps are arrays (N, H, W, C). A loop reads them image by image and stores no intermediate
result. Sums over an image have the arrays' own precision; sums over images are float64.

Normalisation is y = scale * x + shift; its constants are the rows of an array (4, C): mean, inverse
standard deviation, scale and shift.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit

_compile = partial(njit, nogil=True, fastmath={"contract"}, error_model="numpy")


def compiled(loop: Callable[..., Any]) -> Callable[..., Any]:
    """Has numba compile a loop when it is first used, and cache the result for later processes.

    It is not cached if neither this package nor the user's home directory can be written to.
    """
    try:
        return _compile(loop, cache=True)
    except RuntimeError:  # numba finds no place for the cache
        return _compile(loop, cache=False)


@compiled
def measure(feature: Any) -> Any:
    """Mean and biased variance over the batch, (2, C).

    Reference:
        Chan et al., Algorithms for Computing the Sample Variance, 1983.
    """
    images, height, width, channels = feature.shape
    pixels = height * width
    x = feature.reshape(images, pixels, channels)
    statistics = np.zeros((2, channels))
    total = np.empty(channels, x.dtype)
    centre = np.empty(channels, x.dtype)
    for n in range(images):
        total[:] = 0
        for p in range(pixels):
            for c in range(channels):
                total[c] += x[n, p, c]
        for c in range(channels):
            centre[c] = total[c] / pixels
        total[:] = 0
        for p in range(pixels):
            for c in range(channels):
                distance = x[n, p, c] - centre[c]
                total[c] += distance * distance
        for c in range(channels):
            distance = centre[c] - statistics[0, c]
            statistics[0, c] += distance / (n + 1)
            statistics[1, c] += total[c] + distance * distance * pixels * n / (n + 1)
    statistics[1] /= images * pixels
    return statistics


@compiled
def update(statistics: Any, count: int, momentum: float, mean: Any, variance: Any) -> None:
    """Moves the running mean and the running unbiased variance towards those of a batch."""
    for c in range(mean.shape[0]):
        mean[c] += momentum * (statistics[0, c] - mean[c])
        variance[c] += momentum * (statistics[1, c] * count / (count - 1) - variance[c])


@compiled
def prepare(mean: Any, variance: Any, weight: Any, bias: Any, eps: float) -> Any:
    """The constants of a normalisation, (4, C)."""
    constants = np.empty((4, mean.shape[0]), weight.dtype)
    for c in range(mean.shape[0]):
        inverse = 1 / np.sqrt(variance[c] + eps)
        constants[0, c] = mean[c]
        constants[1, c] = inverse
        constants[2, c] = inverse * weight[c]
        constants[3, c] = bias[c] - mean[c] * inverse * weight[c]
    return constants


@compiled
def pool(feature: Any, constants: Any, pooled: Any) -> None:
    """Adds the average of relu(y) over every image to `pooled`, (N, C)."""
    images, height, width, channels = feature.shape
    pixels = height * width
    x = feature.reshape(images, pixels, channels)
    scale, shift = constants[2], constants[3]
    total = np.empty(channels, x.dtype)
    for n in range(images):
        total[:] = 0
        for p in range(pixels):
            for c in range(channels):
                total[c] += max(x[n, p, c] * scale[c] + shift[c], 0)
        for c in range(channels):
            pooled[n, c] += total[c] / pixels


@compiled
def accumulate(feature: Any, constants: Any, weights: Any, output: Any, is_first: bool) -> None:
    """Adds weights * relu(y) to `output`; the first branch overwrites it."""
    images, height, width, channels = feature.shape
    pixels = height * width
    x = feature.reshape(images, pixels, channels)
    z = output.reshape(images, pixels, channels)
    scale, shift = constants[2], constants[3]
    for n in range(images):
        for p in range(pixels):
            for c in range(channels):
                y = weights[n, c] * max(x[n, p, c] * scale[c] + shift[c], 0)
                if is_first:
                    z[n, p, c] = y
                else:
                    z[n, p, c] += y


@compiled
def correlate(feature: Any, constants: Any, gradient: Any, result: Any) -> None:
    """Sum of gradient * relu(y) over every image, (N, C)."""
    images, height, width, channels = feature.shape
    pixels = height * width
    x = feature.reshape(images, pixels, channels)
    g = gradient.reshape(images, pixels, channels)
    scale, shift = constants[2], constants[3]
    total = np.empty(channels, x.dtype)
    for n in range(images):
        total[:] = 0
        for p in range(pixels):
            for c in range(channels):
                total[c] += g[n, p, c] * max(x[n, p, c] * scale[c] + shift[c], 0)
        for c in range(channels):
            result[n, c] = total[c]


@compiled
def sum_up(feature: Any, constants: Any, gradient: Any, weights: Any, offset: Any) -> Any:
    """Sums over the batch of d * (x - mean) and of d, (2, C).

    d, the gradient of y, is weights * gradient + offset where ReLU passes it.
    """
    images, height, width, channels = feature.shape
    pixels = height * width
    x = feature.reshape(images, pixels, channels)
    g = gradient.reshape(images, pixels, channels)
    mean, scale, shift = constants[0], constants[2], constants[3]
    sums = np.zeros((2, channels))
    product = np.empty(channels, x.dtype)
    total = np.empty(channels, x.dtype)
    for n in range(images):
        product[:] = 0
        total[:] = 0
        for p in range(pixels):
            for c in range(channels):
                d = weights[n, c] * g[n, p, c] + offset[n, c]
                if x[n, p, c] * scale[c] + shift[c] <= 0:
                    d = d * 0
                product[c] += d * (x[n, p, c] - mean[c])
                total[c] += d
        for c in range(channels):
            sums[0, c] += product[c]
            sums[1, c] += total[c]
    return sums


@compiled
def differentiate(
    feature: Any,
    constants: Any,
    gradient: Any,
    weights: Any,
    offset: Any,
    sums: Any,
    result: Any,
) -> None:
    """Writes the gradient of x, from the result of `sum_up`.

    It is scale * (d - mean(d) - x' * mean(d * x')), where x' is the normalised x.

    Reference:
        Ioffe and Szegedy, Batch Normalization, ICML 2015, section 3.
    """
    images, height, width, channels = feature.shape
    pixels = height * width
    x = feature.reshape(images, pixels, channels)
    g = gradient.reshape(images, pixels, channels)
    r = result.reshape(images, pixels, channels)
    mean, inverse, scale, shift = constants[0], constants[1], constants[2], constants[3]
    slope = np.empty(channels, x.dtype)
    base = np.empty(channels, x.dtype)
    for c in range(channels):
        along = -scale[c] * inverse[c] * inverse[c] * sums[0, c] / (images * pixels)
        slope[c] = along
        base[c] = -scale[c] * sums[1, c] / (images * pixels) - mean[c] * along
    for n in range(images):
        for p in range(pixels):
            for c in range(channels):
                d = weights[n, c] * g[n, p, c] + offset[n, c]
                if x[n, p, c] * scale[c] + shift[c] <= 0:
                    d = d * 0
                r[n, p, c] = scale[c] * d + slope[c] * x[n, p, c] + base[c]
