"""Compiled loops over feature maps, for `sknet.fused`.

Feature maps are arrays (N, P, C): channels_last, with P = H * W. Every loop reads them once, image
by image, and stores no intermediate result. Sums over an image have the arrays' own precision;
sums over images are float64. Numba compiles a loop when it is first used, and caches the result
for later processes.
"""

from typing import Any

import numpy as np
from numba import njit

compiled = njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")


@compiled
def measure(x: Any) -> Any:
    """Mean and biased variance over the batch, (2, C).

    Reference:
        Chan et al., Algorithms for Computing the Sample Variance, 1983.
    """
    images, pixels, channels = x.shape
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
def pool(x: Any, scale: Any, shift: Any, pooled: Any) -> None:
    """Adds the average of relu(scale * x + shift) over every image to `pooled`, (N, C)."""
    images, pixels, channels = x.shape
    total = np.empty(channels, x.dtype)
    for n in range(images):
        total[:] = 0
        for p in range(pixels):
            for c in range(channels):
                total[c] += max(x[n, p, c] * scale[c] + shift[c], 0)
        for c in range(channels):
            pooled[n, c] += total[c] / pixels


@compiled
def add(x: Any, scale: Any, shift: Any, weights: Any, output: Any, rectify: bool) -> None:
    """Adds weights * y to `output`, where y = scale * x + shift, with ReLU if `rectify`."""
    images, pixels, channels = x.shape
    for n in range(images):
        for p in range(pixels):
            for c in range(channels):
                y = x[n, p, c] * scale[c] + shift[c]
                if rectify:
                    y = max(y, 0)
                output[n, p, c] += weights[n, c] * y


@compiled
def write(x: Any, scale: Any, shift: Any, weights: Any, output: Any, rectify: bool) -> None:
    """Writes weights * y to `output`; see `add`."""
    images, pixels, channels = x.shape
    for n in range(images):
        for p in range(pixels):
            for c in range(channels):
                y = x[n, p, c] * scale[c] + shift[c]
                if rectify:
                    y = max(y, 0)
                output[n, p, c] = weights[n, c] * y


@compiled
def correlate(x: Any, scale: Any, shift: Any, gradient: Any, result: Any) -> None:
    """Sum of gradient * relu(scale * x + shift) over every image, (N, C)."""
    images, pixels, channels = x.shape
    total = np.empty(channels, x.dtype)
    for n in range(images):
        total[:] = 0
        for p in range(pixels):
            for c in range(channels):
                total[c] += gradient[n, p, c] * max(x[n, p, c] * scale[c] + shift[c], 0)
        for c in range(channels):
            result[n, c] = total[c]


@compiled
def sum_gradients(
    x: Any,
    scale: Any,
    shift: Any,
    mean: Any,
    gradient: Any,
    weights: Any,
    offset: Any,
    rectify: bool,
) -> Any:
    """Sums over the batch of d and of d * (x - mean), (2, C).

    d is the gradient of scale * x + shift: weights * gradient + offset, where ReLU passes it.
    """
    images, pixels, channels = x.shape
    sums = np.zeros((2, channels))
    first = np.empty(channels, x.dtype)
    second = np.empty(channels, x.dtype)
    for n in range(images):
        first[:] = 0
        second[:] = 0
        for p in range(pixels):
            for c in range(channels):
                d = weights[n, c] * gradient[n, p, c] + offset[n, c]
                if rectify and x[n, p, c] * scale[c] + shift[c] <= 0:
                    d = d * 0
                first[c] += d
                second[c] += d * (x[n, p, c] - mean[c])
        for c in range(channels):
            sums[0, c] += first[c]
            sums[1, c] += second[c]
    return sums


@compiled
def differentiate(
    x: Any,
    scale: Any,
    shift: Any,
    slope: Any,
    base: Any,
    gradient: Any,
    weights: Any,
    offset: Any,
    result: Any,
    rectify: bool,
) -> None:
    """Writes the gradient of x, scale * d + slope * x + base; d as in `sum_gradients`."""
    images, pixels, channels = x.shape
    for n in range(images):
        for p in range(pixels):
            for c in range(channels):
                d = weights[n, c] * gradient[n, p, c] + offset[n, c]
                if rectify and x[n, p, c] * scale[c] + shift[c] <= 0:
                    d = d * 0
                result[n, p, c] = scale[c] * d + slope[c] * x[n, p, c] + base[c]
