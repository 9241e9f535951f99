"""Means and paired differences over seeds, with their intervals and p-values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special  # t's quantiles without scipy.stats, which takes half a second to load

CONFIDENCE = 0.95
"""Level of every interval."""

SIGNIFICANCE = 0.05
"""Corrected p-values below it decide; one-sided ones below half of it."""

ROUNDING = 1e-9
"""Spread in points of error below which differences are equal but for rounding."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A row's own error over its seeds."""

    n: int
    """Number of seeds."""

    mean: float
    """Mean error, percent."""

    std: float
    """Sample standard deviation over seeds; NaN for one seed."""

    half_width: float
    """Half the t-interval of the mean; NaN for one seed."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How much a whole table varies over seeds."""

    mse: float
    """Residual mean square of the additive model rows + seeds; NaN without a degree of freedom."""

    df: int
    """Degrees of freedom of the mean square."""

    mean_variance: float
    """Mean over rows of the variance of their paired differences from the baseline; NaN if no
    row has one."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far a row is from another, paired by seed."""

    n: int
    """Number of seeds finished in both."""

    mean: float
    """Mean over seeds of the row's error less the other's, in points."""

    variance: float
    """Guarded variance of a single seed's difference; 0 if nothing varies, NaN if unknown."""

    df: int
    """Degrees of freedom of the variance."""

    p_holm: float = float("nan")
    """Two-sided p-value, corrected by Holm over a family; NaN if it was not or cannot be."""

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return float(np.sqrt(self.variance / self.n))

    @property
    def half_width(self) -> float:
        """Half the interval of this one row, not corrected over the table; NaN if unknown."""
        return find_t_quantile(self.df) * self.error if self.df else float("nan")

    @property
    def is_testable(self) -> bool:
        """Whether there is a spread to judge the mean by.

        Identical differences in every seed are a sign of a mistake, not of certainty.
        """
        return self.variance > 0

    @property
    def p(self) -> float:
        """Two-sided p-value of this one row; NaN if it cannot be computed."""
        return 2 * min(self.p_below(0.0), self.p_above(0.0))

    def p_below(self, bound: float) -> float:
        """One-sided p-value for the true difference being below `bound`, in points."""
        if not self.is_testable:
            return float("nan")
        return float(special.stdtr(self.df, (self.mean - bound) / self.error))

    def p_above(self, bound: float) -> float:
        """One-sided p-value for the true difference being above `bound`, in points."""
        if not self.is_testable:
            return float("nan")
        return float(special.stdtr(self.df, (bound - self.mean) / self.error))


def summarise(errors: pd.Series) -> Mean:
    """Mean error with its t-interval over seeds (rule 11).

    Args:
        errors: One error for each finished seed; at least one.
    """
    n = len(errors)
    mean = float(errors.mean())
    if n == 1:
        return Mean(n=1, mean=mean, std=float("nan"), half_width=float("nan"))
    std = float(errors.std(ddof=1))
    return Mean(n=n, mean=mean, std=std, half_width=find_t_quantile(n - 1) * std / n**0.5)


def compare_with_baseline(
    errors: pd.DataFrame, baseline: str, *, family: int
) -> dict[str, Difference]:
    """Paired differences from the baseline, corrected over the family (rules 1 to 5).

    Args:
        errors: Top-1 error (%); a row for each seed, a column for each variant, NaN where a
            trial is not finished.
        baseline: The column to compare with.
        family: Number of rows, besides the baseline, that the experiment declares.

    Returns:
        For each other variant with a seed in common with the baseline.
    """
    spread = measure_spread(errors, baseline)
    others = [str(name) for name in errors if name != baseline]
    found = {name: compare_rows(errors, name, baseline, spread=spread) for name in others}
    known = {name: difference for name, difference in found.items() if difference is not None}
    corrected = correct_by_holm([d.p for d in known.values()], family=family)
    return {
        name: replace(difference, p_holm=p)
        for (name, difference), p in zip(known.items(), corrected, strict=True)
    }


def measure_spread(errors: pd.DataFrame, baseline: str) -> Spread:
    """What all rows together say of the spread over seeds (rules 2 and 3)."""
    mse, df = residual_mean_square(errors)
    if baseline not in errors:
        return Spread(mse=mse, df=df, mean_variance=float("nan"))
    differences = errors.drop(columns=baseline).sub(errors[baseline], axis="index")
    variances = differences.var(axis="index", ddof=1)  # NaN for a single seed
    return Spread(mse=mse, df=df, mean_variance=float(variances.mean()))


def compare_rows(
    errors: pd.DataFrame, row: str, other: str, *, spread: Spread
) -> Difference | None:
    """The paired difference of two rows, with a guarded variance.

    A variance pooled over the table alone declares too much when spreads differ, and a paired
    t-test alone sees little with few seeds; the guarded variance is the largest of both and of the
    rows' mean.

    Returns:
        None if no seed is finished in both.
    """
    if row not in errors or other not in errors:
        return None
    differences = (errors[row] - errors[other]).dropna()
    n = len(differences)
    if n == 0:
        return None
    variance = float("nan")
    if n > 1 and spread.df > 0:
        guards = [2 * spread.mse, float(differences.var(ddof=1)), spread.mean_variance]
        variance = max(guard for guard in guards if not np.isnan(guard))
        variance = variance if variance > ROUNDING**2 else 0.0
    return Difference(n=n, mean=float(differences.mean()), variance=variance, df=spread.df)


def residual_mean_square(errors: pd.DataFrame) -> tuple[float, int]:
    """Residual mean square and degrees of freedom of the additive model variants + seeds.

    Missing cells are allowed: the model is fitted by least squares to the cells that are there.

    Returns:
        The mean square, NaN without a degree of freedom, and the degrees of freedom.
    """
    cells = errors.stack().dropna()
    rows, columns = (pd.Index(cells.index.get_level_values(level)) for level in (0, 1))
    design = np.hstack([_one_hot(rows), _one_hot(columns)])
    values = cells.to_numpy(float)
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    df = len(values) - int(rank)
    if df <= 0:
        return float("nan"), 0
    return float(((values - design @ solution) ** 2).sum() / df), df


def correct_by_holm(p_values: Sequence[float], *, family: int) -> list[float]:
    """Holm's step-down correction; NaN stays NaN, and counts as untested in the family.

    >>> correct_by_holm([0.01, 0.04, 0.03], family=3)
    [0.03, 0.06, 0.06]
    """
    corrected = list(p_values)
    largest = 0.0
    known = [i for i, p in enumerate(p_values) if not np.isnan(p)]
    for position, index in enumerate(sorted(known, key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (family - position) * p_values[index]))
        corrected[index] = largest
    return corrected


def find_t_quantile(df: int) -> float:
    """Quantile of Student's t that bounds a two-sided interval of the confidence."""
    return float(special.stdtrit(df, (1 + CONFIDENCE) / 2))


def _one_hot(labels: pd.Index) -> NDArray[np.float64]:
    codes, names = labels.factorize()
    return np.eye(len(names), dtype=np.float64)[np.asarray(codes, dtype=np.intp)]
