"""Means and paired differences over seeds, with their intervals and p-values."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special  # Student's t without scipy.stats, which takes half a second to import

from ablations.statistics.corrections import CORRECTION

SIGNIFICANCE = 0.05
"""Level of a two-sided test, after the correction; one-sided tests use half of it. With several
looks, all of them together keep it."""

ROUNDING = 1e-9
"""Standard deviations below it, in points of error, are rounding errors."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Mean error of one row over its seeds."""

    n: int
    """Number of seeds."""

    mean: float
    """Mean error, percent."""

    std: float
    """Sample standard deviation over seeds; NaN for one seed."""

    half_width: float
    """Half the width of the mean's t-interval; NaN for one seed."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Variation over seeds in a whole table."""

    mse: float
    """Residual mean square of the additive model rows + seeds; NaN without degrees of freedom."""

    df: int
    """Degrees of freedom of the mean square."""

    mean_variance: float
    """Variance of the paired differences from the baseline, averaged over rows; NaN if no row has
    one."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference in error between two rows, paired by seed."""

    n: int
    """Number of seeds finished in both."""

    mean: float
    """Error of the row minus that of the other, averaged over seeds, in points."""

    variance: float
    """Guarded variance of the difference in one seed; 0 if nothing varies, NaN if unknown."""

    df: int
    """Degrees of freedom of the variance."""

    is_constant: bool = False
    """Whether the difference is identical in every seed, of several."""

    p_corrected: float = float("nan")
    """Two-sided p-value, corrected over a family; NaN if unknown."""

    level: float = SIGNIFICANCE
    """Level of the test; the confidence level of the interval is 1 minus it."""

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return float(np.sqrt(self.variance / self.n))

    @property
    def half_width(self) -> float:
        """Half the width of this row's interval, not corrected over the table; NaN if unknown."""
        return find_t_quantile(self.df, self.level) * self.error if self.df else float("nan")

    @property
    def is_testable(self) -> bool:
        """Whether the differences vary over seeds.

        Identical differences in every seed point to a mistake rather than to certainty, such as a
        setting that changes nothing, even if other rows of the table vary.
        """
        return self.variance > 0 and not self.is_constant

    @property
    def p(self) -> float:
        """Two-sided p-value of this row alone; NaN if unknown."""
        return 2 * min(self.p_below(0.0), self.p_above(0.0))

    def find_threshold(self, family: int) -> float:
        """The difference that the hardest test of a family needs, in points."""
        share = CORRECTION.smallest_share(family)
        return find_t_quantile(self.df, self.level * share) * self.error

    def p_below(self, bound: float) -> float:
        """One-sided p-value for a true difference below `bound`, in points."""
        if not self.is_testable:
            return float("nan")
        return float(special.stdtr(self.df, (self.mean - bound) / self.error))

    def p_above(self, bound: float) -> float:
        """One-sided p-value for a true difference above `bound`, in points."""
        if not self.is_testable:
            return float("nan")
        return float(special.stdtr(self.df, (bound - self.mean) / self.error))


def summarise(errors: pd.Series) -> Mean:
    """Computes a row's mean error and its t-interval over seeds (rule 11).

    Args:
        errors: One error per finished seed; at least one.
    """
    n = len(errors)
    mean = float(errors.mean())
    if n == 1:
        return Mean(n=1, mean=mean, std=float("nan"), half_width=float("nan"))
    std = float(errors.std(ddof=1))
    return Mean(n=n, mean=mean, std=std, half_width=find_t_quantile(n - 1) * std / n**0.5)


def compare_with_baseline(
    errors: pd.DataFrame,
    baseline: str,
    *,
    family: int,
    rows: Collection[str] | None = None,
    level: float = SIGNIFICANCE,
) -> dict[str, Difference]:
    """Computes differences from the baseline, corrected over the family (rules 1 to 5).

    Args:
        errors: Top-1 error (%), one row per seed and one column per variant; NaN where a trial
            is not finished.
        baseline: The column to compare with.
        family: Number of hypotheses: the rows that the experiment declares, without the baseline
            and those declared better or worse at an earlier look.
        rows: The rows to compare; all if None. The spread is measured over all rows.
        level: Level of the tests.

    Returns:
        One difference for each row that shares a finished seed with the baseline.
    """
    spread = measure_spread(errors, baseline)
    others = [str(name) for name in errors if name != baseline and (rows is None or name in rows)]
    found = {
        name: compare_rows(errors, name, baseline, spread=spread, level=level) for name in others
    }
    known = {name: difference for name, difference in found.items() if difference is not None}
    corrected = CORRECTION.correct([d.p for d in known.values()], family=family)
    return {
        name: replace(difference, p_corrected=float(p))
        for (name, difference), p in zip(known.items(), corrected, strict=True)
    }


def measure_spread(errors: pd.DataFrame, baseline: str) -> Spread:
    """Measures the variation over seeds in all rows together (rules 2 and 3)."""
    mse, df = fit_additive_model(errors)
    if baseline not in errors:
        return Spread(mse=mse, df=df, mean_variance=float("nan"))
    others = errors.drop(columns=baseline).to_numpy(float)
    differences = others - errors[[baseline]].to_numpy(float)
    variances = [_variance(column[~np.isnan(column)]) for column in differences.T]
    known = [variance for variance in variances if not np.isnan(variance)]
    return Spread(mse=mse, df=df, mean_variance=float(np.mean(known)) if known else float("nan"))


def compare_rows(
    errors: pd.DataFrame,
    row: str,
    other: str,
    *,
    spread: Spread,
    level: float = SIGNIFICANCE,
) -> Difference | None:
    """Computes the paired difference between two rows, with the guarded variance (rule 3).

    Returns:
        None if no seed is finished in both rows.
    """
    if row not in errors or other not in errors:
        return None
    paired = errors[row].to_numpy(float) - errors[other].to_numpy(float)
    differences = paired[~np.isnan(paired)]
    n = len(differences)
    if n == 0:
        return None
    variance = float("nan")
    if n > 1 and spread.df > 0:
        guards = [2 * spread.mse, _variance(differences), spread.mean_variance]
        variance = max(guard for guard in guards if not np.isnan(guard))
        variance = variance if variance > ROUNDING**2 else 0.0
    return Difference(
        n=n,
        mean=float(differences.mean()),
        variance=variance,
        df=spread.df,
        is_constant=_variance(differences) <= ROUNDING**2,
        level=level,
    )


def measure_effect(values: ArrayLike, *, level: float = SIGNIFICANCE) -> Difference:
    """Describes a quantity that has one value per seed by the spread of these values alone.

    This is for quantities that have no table of rows to share a spread with.

    Args:
        values: One value per seed, such as a difference between two conditions; at least one.
        level: Level of the test.
    """
    known = np.asarray(values, dtype=np.float64)
    variance = _variance(known)
    return Difference(
        n=len(known),
        mean=float(known.mean()),
        variance=0.0 if variance < ROUNDING**2 else variance,
        df=len(known) - 1,
        level=level,
    )


def fit_additive_model(errors: pd.DataFrame) -> tuple[float, int]:
    """Fits the model variants + seeds by least squares to all cells that are known (rule 2).

    Returns:
        The residual mean square, NaN without degrees of freedom; and the degrees of freedom.
    """
    table = errors.to_numpy(float)
    is_known = ~np.isnan(table)
    if is_known.all():
        return _fit_complete(table)
    seeds, variants = np.nonzero(is_known)
    design = np.hstack([np.eye(table.shape[0])[seeds], np.eye(table.shape[1])[variants]])
    values = table[is_known]
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    df = len(values) - int(rank)
    if df <= 0:
        return float("nan"), 0
    return float(((values - design @ solution) ** 2).sum() / df), df


def _fit_complete(errors: NDArray[np.float64]) -> tuple[float, int]:
    """The same if all cells are known: the fit is a mean of the row plus a mean of the column."""
    seeds, variants = errors.shape
    df = (seeds - 1) * (variants - 1)
    if df <= 0:
        return float("nan"), 0
    means = errors.mean(axis=0, keepdims=True) + errors.mean(axis=1, keepdims=True) - errors.mean()
    return float(((errors - means) ** 2).sum() / df), df


def find_t_quantile(df: int, level: float = SIGNIFICANCE) -> float:
    """Returns the quantile of Student's t that bounds a two-sided interval."""
    return float(special.stdtrit(df, 1 - level / 2))


def _variance(values: NDArray[np.float64]) -> float:
    """Sample variance; NaN for fewer than two values."""
    return float(values.var(ddof=1)) if len(values) > 1 else float("nan")
