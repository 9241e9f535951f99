"""The procedure for comparing variants, against independent computations."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.statistics import (
    compare_with_baseline,
    correct_by_holm,
    residual_mean_square,
    summarise,
)


def make_errors(seed: int, *, variants: int = 4, seeds: int = 5) -> pd.DataFrame:
    """Errors of variants that do not differ; each seed shifts them all."""
    generator = np.random.default_rng(seed)
    values = generator.normal(5, 0.5, (seeds, variants)) + generator.normal(0, 1, (seeds, 1))
    names = ["baseline", *(f"v{i}" for i in range(1, variants))]
    return pd.DataFrame(values, columns=names)


def test_a_mean_has_its_t_interval() -> None:
    """As SciPy computes it."""
    errors = pd.Series([4.0, 5.0, 7.0])
    low, high = stats.t.interval(0.95, 2, loc=errors.mean(), scale=stats.sem(errors))

    mean = summarise(errors)

    assert (mean.n, mean.mean, mean.std) == pytest.approx((3, 16 / 3, errors.std()))
    assert (mean.mean - mean.half_width, mean.mean + mean.half_width) == pytest.approx((low, high))


def test_one_seed_has_no_interval() -> None:
    """One training says nothing of the spread."""
    mean = summarise(pd.Series([4.0]))

    assert np.isnan(mean.std)
    assert np.isnan(mean.half_width)


def test_one_row_is_the_paired_t_test() -> None:
    """With a single row beside the baseline all three variances are the same."""
    errors = make_errors(0, variants=2)
    expected = stats.ttest_rel(errors["v1"], errors["baseline"])

    found = compare_with_baseline(errors, "baseline", family=1)["v1"]

    assert found.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert found.mean - found.half_width == pytest.approx(low)
    assert found.mean + found.half_width == pytest.approx(high)


def test_the_variance_is_guarded() -> None:
    """The largest of pooled, own and mean variance."""
    errors = make_errors(1)
    differences = errors.drop(columns="baseline").sub(errors["baseline"], axis=0)
    mse, df = residual_mean_square(errors)
    own = differences.var()

    found = compare_with_baseline(errors, "baseline", family=3)

    for name, row in found.items():
        variance = max(2 * mse, own[name], own.mean())
        half_width = stats.t.ppf(0.975, df) * np.sqrt(variance / 5)
        assert row.half_width == pytest.approx(half_width)


def test_residuals_are_those_of_the_two_way_layout() -> None:
    """Complete cells: the classical sum of squares, k (n - 1) degrees of freedom."""
    errors = make_errors(2)
    values = errors.to_numpy()
    rows, columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    residuals = values - rows - columns + values.mean()

    mse, df = residual_mean_square(errors)

    assert df == 3 * 4
    assert mse == pytest.approx((residuals**2).sum() / df)


def test_missing_cells_cost_a_degree_of_freedom_each() -> None:
    """A failed trial does not drop the seeds of the others."""
    errors = make_errors(3)
    errors.loc[0, "v1"] = errors.loc[3, "v2"] = np.nan

    _, df = residual_mean_square(errors)
    found = compare_with_baseline(errors, "baseline", family=3)

    assert df == 3 * 4 - 2
    assert {name: row.n for name, row in found.items()} == {"v1": 4, "v2": 4, "v3": 5}


def test_a_row_without_a_common_seed_has_no_difference() -> None:
    """There is nothing to pair."""
    errors = make_errors(4)
    errors["v2"] = np.nan

    assert compare_with_baseline(errors, "baseline", family=3).keys() == {"v1", "v3"}


def test_one_seed_gives_differences_without_intervals() -> None:
    """No interval and no p-value can be had of one pair."""
    found = compare_with_baseline(make_errors(5, seeds=1), "baseline", family=3)

    assert all(np.isnan(row.half_width) and np.isnan(row.p) for row in found.values())


def test_identical_outcomes_decide_nothing() -> None:
    """A spread of nothing is a sign of a mistake, not of certainty."""
    errors = pd.DataFrame({"baseline": [4.0, 5.0], "v1": [3.0, 4.0]})

    found = compare_with_baseline(errors, "baseline", family=1)["v1"]

    assert found.mean == -1
    assert np.isnan(found.p)


def test_no_baseline_no_differences() -> None:
    """It was excluded, or failed for every seed."""
    assert compare_with_baseline(make_errors(6), "other", family=3) == {}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_between_nothing_and_bonferroni(p_values: list[float]) -> None:
    """And keeps the order."""
    corrected = correct_by_holm(p_values, family=len(p_values))

    for p, c in zip(p_values, corrected, strict=True):
        assert p <= c <= min(1.0, p * len(p_values)) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_a_shift_of_a_row_shifts_its_difference_alone(seed: int, shift: float) -> None:
    """Differences and intervals follow the data as they should."""
    errors = make_errors(seed)
    shifted = errors.assign(v1=errors["v1"] + shift)

    before = compare_with_baseline(errors, "baseline", family=3)
    after = compare_with_baseline(shifted, "baseline", family=3)

    assert after["v1"].mean - before["v1"].mean == pytest.approx(shift, abs=1e-9)
    assert after["v2"].mean == pytest.approx(before["v2"].mean)
    assert after["v1"].half_width == pytest.approx(before["v1"].half_width)


def test_equal_variants_are_seldom_told_apart() -> None:
    """Of 400 tables of equal variants at most about one in twenty declares a difference."""
    false = 0
    for seed in range(400):
        found = compare_with_baseline(make_errors(seed, seeds=3), "baseline", family=3)
        false += any(row.p_holm < 0.05 for row in found.values())

    assert false / 400 < 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_statistics_are_quick_to_import() -> None:
    """`--help` waits for them; `scipy.stats` alone takes half a second."""
    code = "import sys, ablations.statistics.claims; print('scipy.stats' in sys.modules)"

    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert answer.stdout == "False\n"
