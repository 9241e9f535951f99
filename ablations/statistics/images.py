"""What the outcomes of single test images say: image noise, and two networks held together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special  # as in differences.py: without scipy.stats

RESAMPLES = 10_000
"""Bootstrap samples; the standard error is then known to within 1 %."""


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """McNemar's exact test: speaks of two trained networks only, not of their variants."""

    only_row: int
    """Images that the row's network alone gets right."""

    only_baseline: int
    """Images that the baseline's network alone gets right."""

    p: float
    """Two-sided p-value for the two networks being right equally often."""


def compare_two_networks(row: NDArray[np.bool_], baseline: NDArray[np.bool_]) -> Disagreement:
    """Tests two trained networks by the images that one of them alone gets right (rule 10).

    Args:
        row: Whether each test image is right, in the dataset's order.
        baseline: The same of the other network.
    """
    only_row = int((row & ~baseline).sum())
    only_baseline = int((baseline & ~row).sum())
    fewer, total = min(only_row, only_baseline), only_row + only_baseline
    p = min(1.0, 2 * float(special.bdtr(fewer, total, 0.5))) if total else 1.0
    return Disagreement(only_row=only_row, only_baseline=only_baseline, p=p)


def estimate_image_error(
    row: NDArray[np.bool_], baseline: NDArray[np.bool_], generator: np.random.Generator
) -> float:
    """Standard error over test images of the seed-averaged difference, in points (rule 12).

    A bootstrap over images. Images of equal outcomes are interchangeable, so that it is enough to
    draw how many of each outcome a sample holds.

    Args:
        row: Whether each image is right, seeds x images.
        baseline: The same of the baseline with the same seeds.
        generator: Source of the samples.
    """
    advantages = baseline.sum(axis=0, dtype=np.int64) - row.sum(axis=0, dtype=np.int64)
    outcomes, counts = np.unique(advantages, return_counts=True)
    images = int(counts.sum())
    samples = generator.multinomial(images, counts / images, size=RESAMPLES)
    differences = 100 * (samples @ outcomes) / (images * len(row))
    return float(differences.std(ddof=1))
