"""Comparisons by single test images: image noise, and McNemar's test of two networks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special  # without scipy.stats, as in differences.py

RESAMPLES = 10_000
"""Bootstrap samples, enough to know the standard error to within 1 %."""


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """McNemar's exact test of two trained networks; it says nothing about their variants."""

    only_row: int
    """Images that only the row's network classifies correctly."""

    only_baseline: int
    """Images that only the baseline's network classifies correctly."""

    p: float
    """Two-sided p-value for equal accuracy of the two networks."""


def compare_two_networks(row: NDArray[np.bool_], baseline: NDArray[np.bool_]) -> Disagreement:
    """Tests two trained networks on the images that only one classifies correctly (rule 10).

    Args:
        row: Whether the row's network classifies each test image correctly, in the dataset's order.
        baseline: The same for the baseline's network.
    """
    only_row = int((row & ~baseline).sum())
    only_baseline = int((baseline & ~row).sum())
    fewer, total = min(only_row, only_baseline), only_row + only_baseline
    p = min(1.0, 2 * float(special.bdtr(fewer, total, 0.5))) if total else 1.0
    return Disagreement(only_row=only_row, only_baseline=only_baseline, p=p)


def estimate_image_error(
    row: NDArray[np.bool_], baseline: NDArray[np.bool_], generator: np.random.Generator
) -> float:
    """Estimates the standard error of a difference over test images, in points (rule 12).

    This is a bootstrap over images. Images with equal outcomes are interchangeable, so it is
    enough to draw how many images of each outcome a sample contains.

    Args:
        row: Whether each image is classified correctly, seeds x images.
        baseline: The same for the baseline, with the same seeds.
        generator: Source of the samples.
    """
    advantages = baseline.sum(axis=0, dtype=np.int64) - row.sum(axis=0, dtype=np.int64)
    outcomes, counts = np.unique(advantages, return_counts=True)
    images = int(counts.sum())
    samples = generator.multinomial(images, counts / images, size=RESAMPLES)
    differences = 100 * (samples @ outcomes) / (images * len(row))
    return float(differences.std(ddof=1))
