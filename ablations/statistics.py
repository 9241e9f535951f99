"""Intervals and paired differences over seeds; the procedure of docs/statistics.md."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special  # t's quantiles without scipy.stats, which takes half a second to load

CONFIDENCE = 0.95
"""Level of every interval."""

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
class Difference:
    """How far a row is from the baseline, paired by seed."""

    n: int
    """Number of seeds finished in both."""

    mean: float
    """Mean over seeds of the row's error less the baseline's, in points."""

    half_width: float
    """Half the interval of this one row, not corrected over the table; NaN for one seed."""

    p: float
    """Two-sided p-value, corrected by Holm over the family; NaN if it cannot be computed."""


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
    return Mean(n=n, mean=mean, std=std, half_width=_t_quantile(n - 1) * std / n**0.5)


def compare_with_baseline(
    errors: pd.DataFrame, baseline: str, *, family: int
) -> dict[str, Difference]:
    """Paired differences from the baseline with guarded variances (rules 1 to 5).

    A variance pooled over the table alone declares too much when spreads differ, and a paired
    t-test alone sees little with few seeds; the guarded variance is the largest of both and of the
    rows' mean.

    Args:
        errors: Top-1 error (%); a row for each seed, a column for each variant, NaN where a
            trial is not finished.
        baseline: The column to compare with.
        family: Number of rows, besides the baseline, that the experiment declares.

    Returns:
        For each other variant with a seed in common with the baseline.
    """
    if baseline not in errors:
        return {}
    differences = errors.drop(columns=baseline).sub(errors[baseline], axis="index")
    differences = differences.dropna(axis="columns", how="all")
    mse, df = residual_mean_square(errors)
    variances = differences.var(axis="index", ddof=1)  # NaN for a single seed
    results = {}
    for name in map(str, differences.columns):
        column = differences[name].dropna()
        guarded = max(2 * mse, variances[name], variances.mean())
        spread = guarded**0.5 if guarded > ROUNDING**2 else 0.0
        error = spread / len(column) ** 0.5
        known = len(column) > 1 and df > 0 and not np.isnan(error)
        results[name] = Difference(
            n=len(column),
            mean=float(column.mean()),
            half_width=_t_quantile(df) * error if known else float("nan"),
            p=_two_sided_p(float(column.mean()), error, df) if known else float("nan"),
        )
    corrected = correct_by_holm([r.p for r in results.values()], family=family)
    return {
        name: Difference(n=r.n, mean=r.mean, half_width=r.half_width, p=p)
        for (name, r), p in zip(results.items(), corrected, strict=True)
    }


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


def correct_by_holm(p_values: list[float], *, family: int) -> list[float]:
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


def _one_hot(labels: pd.Index) -> NDArray[np.float64]:
    codes, names = labels.factorize()
    return np.eye(len(names), dtype=np.float64)[np.asarray(codes, dtype=np.intp)]


def _t_quantile(df: int) -> float:
    return float(special.stdtrit(df, (1 + CONFIDENCE) / 2))


def _two_sided_p(difference: float, error: float, df: int) -> float:
    if error == 0:
        return float("nan")  # identical outcomes in every seed say nothing of the spread
    return float(2 * special.stdtr(df, -abs(difference) / error))
