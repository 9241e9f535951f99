"""Agreement of a table's ranking with the ranking that papers printed, or of another table."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ablations.formatting import format_level
from ablations.statistics.differences import SIGNIFICANCE

FEWEST_ROWS = 4
"""With fewer rows no agreement is computed: there would be only six rankings of three rows."""

MOST_EXACT_ROWS = 8
"""Maximum number of rows for which all permutations are tried; there are 40,320 of eight."""

PERMUTATIONS = 100_000
"""Random permutations for more rows; the standard error of p is at most 0.0016."""

RESAMPLES = 10_000
"""Bootstrap samples of the seeds."""

DECIMALS = 9
"""Means that are equal to so many decimals are ties, so that rounding errors break none."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Rank agreement of measured errors with printed ones, or with those of another recipe.

    It is no verdict on the papers.
    """

    reference: str
    """What the measured errors are compared with: a printed cell, such as `top1_error`, or the name
    of another recipe."""

    tau: float
    """Kendall's tau-b: 1 if both rankings are the same, -1 if one is the reverse of the other."""

    interval: tuple[float, float] | None
    """The middle 95 % of tau-b over bootstrap samples of the seeds; None if a row has one seed.

    It is no confidence interval: with few seeds it is too narrow, and below a tau-b close to 1.
    """

    p: float
    """p-value of the permutation test for unrelated rankings, two-sided: a ranking that is reversed
    is as far from unrelated as an equal one."""

    rows: int
    """Number of rows with both errors."""

    @property
    def is_exact(self) -> bool:
        """Whether p is from all permutations rather than from random ones."""
        return self.rows <= MOST_EXACT_ROWS

    @property
    def interval_text(self) -> str:
        """The interval as text; empty if there is none."""
        return "{:z.2f} to {:z.2f}".format(*self.interval) if self.interval else ""

    @property
    def p_text(self) -> str:
        """The p-value as text."""
        return f"p = {self.p:.3f}" if self.p >= 0.001 else "p < 0.001"

    def __str__(self) -> str:
        """In words, as notes print it."""
        interval = ""
        if self.interval:
            share = format_level(1 - SIGNIFICANCE)
            interval = f"{self.interval_text} in {share} of bootstrap samples of the seeds; "
        test = f"{'exact ' if self.is_exact else ''}permutation {self.p_text}"
        return f"Kendall's tau-b = {self.tau:z.2f} ({interval}{test}; {self.rows} rows)"


def measure_agreement(
    errors: pd.DataFrame,
    printed: Mapping[str, float],
    *,
    reference: str,
    generator: np.random.Generator,
) -> Agreement | None:
    """Measures how far the mean errors rank the variants as the printed errors do (rule 22).

    Args:
        errors: Top-1 error (%), one row per seed and one column per variant; NaN where a trial is
            not finished.
        printed: Printed errors by variant, of any rows.
        reference: Printed cell that they are from.
        generator: Draws the samples of seeds and, for many rows, the permutations.

    Returns:
        None if fewer than four variants have both errors, or if all printed or all measured errors
        are equal.
    """
    names = [str(name) for name in errors if name in printed and errors[name].notna().any()]
    if len(names) < FEWEST_ROWS:
        return None
    own = errors[names].to_numpy(float)
    ranks = np.array([printed[name] for name in names])
    return _measure(own, ranks, reference=reference, samples=ranks, generator=generator)


def compare_rankings(
    errors: pd.DataFrame,
    others: pd.DataFrame,
    *,
    reference: str,
    generator: np.random.Generator,
) -> Agreement | None:
    """Measures how far two recipes rank the same variants equally.

    Args:
        errors: Top-1 error (%) on one recipe, see `measure_agreement`.
        others: The same on the other recipe; its seeds are sampled independently.
        reference: Name of the other recipe.
        generator: See `measure_agreement`.

    Returns:
        None if fewer than four variants are known on both, or if all means of one are equal.
    """
    names = [str(name) for name in errors if name in others]
    names = [n for n in names if errors[n].notna().any() and others[n].notna().any()]
    if len(names) < FEWEST_ROWS:
        return None
    own, other = (table[names].to_numpy(float) for table in (errors, others))
    return _measure(
        own,
        np.nanmean(other, axis=0).round(DECIMALS),
        reference=reference,
        samples=resample(other, generator),
        generator=generator,
    )


def _measure(
    errors: NDArray[np.float64],
    ranks: NDArray[np.float64],
    *,
    reference: str,
    samples: NDArray[np.float64] | None,
    generator: np.random.Generator,
) -> Agreement | None:
    """Compares the mean errors of rows with `ranks`, whose bootstrap samples are `samples`."""
    means = np.nanmean(errors, axis=0).round(DECIMALS)
    tau = float(compute_tau(ranks, means))
    if np.isnan(tau):
        return None
    return Agreement(
        reference=reference,
        tau=tau,
        interval=find_interval(resample(errors, generator), samples),
        p=_permute(ranks, means, generator),
        rows=len(means),
    )


def compute_tau(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Kendall's tau-b over the last axis, for one or many pairs of rankings at once.

    It is NaN where all values of either ranking are equal.

    Shapes:
        x, y: (..., rows), which broadcast -> (...)

    >>> compute_tau([1, 2, 3], [[10, 20, 30], [30, 20, 10], [10, 10, 20]]).round(3)
    array([ 1.   , -1.   ,  0.816])
    """
    x, y = np.asarray(x), np.asarray(y)
    pairs = _count_concordance(x, x) * _count_concordance(y, y)  # of pairs that are no ties
    with np.errstate(invalid="ignore"):
        return np.asarray(_count_concordance(x, y) / np.sqrt(pairs), dtype=np.float64)


def _count_concordance(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Number of concordant pairs minus that of discordant ones; ties count as neither."""
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape)[:-1])
    for i in range(x.shape[-1] - 1):  # one row against all later ones, to save memory
        signs = [np.sign(values[..., i + 1 :] - values[..., i : i + 1]) for values in (x, y)]
        total += (signs[0] * signs[1]).sum(axis=-1)
    return total


def resample(
    errors: NDArray[np.float64], generator: np.random.Generator, *, samples: int = RESAMPLES
) -> NDArray[np.float64] | None:
    """Mean errors of bootstrap samples of a table's seeds, the same seeds for all rows.

    A row's mean is over the sampled seeds that it has; NaN if there are none. None if some row has
    a single seed.

    Shapes:
        errors: (seeds, rows) -> (samples, rows)
    """
    known = ~np.isnan(errors)
    if known.sum(axis=0).min() < 2:
        return None
    seeds = len(errors)
    times = generator.multinomial(seeds, np.full(seeds, 1 / seeds), samples)  # of each seed
    drawn = times @ known.astype(int)  # seeds of each row
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = times @ np.nan_to_num(errors) / drawn
    return means.round(DECIMALS)


def find_interval(
    means: NDArray[np.float64] | None, others: NDArray[np.float64] | None
) -> tuple[float, float] | None:
    """The middle 95 % of tau-b between samples; those for which it is undefined are left out.

    Shapes:
        means, others: (samples, rows), or (rows,) for errors without samples
    """
    if means is None or others is None:
        return None
    taus = compute_tau(others, means)
    taus = taus[~np.isnan(taus)]
    if not len(taus):
        return None
    low, high = np.quantile(taus, [SIGNIFICANCE / 2, 1 - SIGNIFICANCE / 2])
    return float(low), float(high)


def _permute(
    reference: NDArray[np.float64], means: NDArray[np.float64], generator: np.random.Generator
) -> float:
    """Share of the permutations whose rankings agree or disagree as clearly as the observed one.

    The denominator of tau-b is the same for all permutations, so counts of pairs are compared,
    which are whole numbers.
    """
    rows = len(means)
    is_exact = rows <= MOST_EXACT_ROWS
    if is_exact:
        orders = np.array(list(permutations(range(rows))))
    else:
        orders = generator.permuted(np.tile(np.arange(rows), (PERMUTATIONS, 1)), axis=1)
    observed = abs(_count_concordance(reference, means))
    extreme = int((abs(_count_concordance(reference, means[orders])) >= observed).sum())
    if is_exact:
        return extreme / len(orders)
    return (extreme + 1) / (PERMUTATIONS + 1)  # the observed order is one of the permutations
