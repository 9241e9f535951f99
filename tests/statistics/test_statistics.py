"""Means and differences, against independent computations."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.statistics import (
    CORRECTION,
    compare_with_baseline,
    fit_additive_model,
    summarise,
)
from ablations.statistics.corrections import correct_by_holm
from ablations.statistics.verdicts import decide


def make_errors(seed: int, *, variants: int = 4, seeds: int = 5) -> pd.DataFrame:
    """Draws errors of variants that do not differ; each seed shifts all of them."""
    generator = np.random.default_rng(seed)
    values = generator.normal(5, 0.5, (seeds, variants)) + generator.normal(0, 1, (seeds, 1))
    names = ["baseline", *(f"v{i}" for i in range(1, variants))]
    return pd.DataFrame(values, columns=names)


def test_a_mean_has_a_t_interval() -> None:
    """The same as SciPy's."""
    errors = pd.Series([4.0, 5.0, 7.0])
    low, high = stats.t.interval(0.95, 2, loc=errors.mean(), scale=stats.sem(errors))

    mean = summarise(errors)

    assert (mean.n, mean.mean, mean.std) == pytest.approx((3, 16 / 3, errors.std()))
    assert (mean.mean - mean.half_width, mean.mean + mean.half_width) == pytest.approx((low, high))


def test_one_seed_has_no_interval() -> None:
    """One training says nothing about the spread."""
    mean = summarise(pd.Series([4.0]))

    assert np.isnan(mean.std)
    assert np.isnan(mean.half_width)


def test_one_row_is_compared_by_a_paired_t_test() -> None:
    """With a single row, all three estimates of the variance are the same."""
    errors = make_errors(0, variants=2)
    expected = stats.ttest_rel(errors["v1"], errors["baseline"])

    found = compare_with_baseline(errors, "baseline", family=1)["v1"]

    assert found.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert found.mean - found.half_width == pytest.approx(low)
    assert found.mean + found.half_width == pytest.approx(high)


def test_the_variance_is_the_largest_of_three_estimates() -> None:
    """Pooled, own and mean variance."""
    errors = make_errors(1)
    differences = errors.drop(columns="baseline").sub(errors["baseline"], axis=0)
    mse, df = fit_additive_model(errors)
    own = differences.var()

    found = compare_with_baseline(errors, "baseline", family=3)

    for name, row in found.items():
        variance = max(2 * mse, own[name], own.mean())
        half_width = stats.t.ppf(0.975, df) * np.sqrt(variance / 5)
        assert row.half_width == pytest.approx(half_width)


def test_a_complete_table_has_the_classical_residuals() -> None:
    """Sum of squares of the two-way layout, k (n - 1) degrees of freedom."""
    errors = make_errors(2)
    values = errors.to_numpy()
    rows, columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    residuals = values - rows - columns + values.mean()

    mse, df = fit_additive_model(errors)

    assert df == 3 * 4
    assert mse == pytest.approx((residuals**2).sum() / df)


def test_each_missing_trial_costs_a_degree_of_freedom() -> None:
    """The same seed of other rows is kept."""
    errors = make_errors(3)
    errors.loc[0, "v1"] = errors.loc[3, "v2"] = np.nan

    _, df = fit_additive_model(errors)
    found = compare_with_baseline(errors, "baseline", family=3)

    assert df == 3 * 4 - 2
    assert {name: row.n for name, row in found.items()} == {"v1": 4, "v2": 4, "v3": 5}


def test_a_row_without_a_common_seed_has_no_difference() -> None:
    """No pair exists."""
    errors = make_errors(4)
    errors["v2"] = np.nan

    assert compare_with_baseline(errors, "baseline", family=3).keys() == {"v1", "v3"}


def test_one_seed_gives_differences_without_intervals() -> None:
    """A single pair has neither an interval nor a p-value."""
    found = compare_with_baseline(make_errors(5, seeds=1), "baseline", family=3)

    assert all(np.isnan(row.half_width) and np.isnan(row.p) for row in found.values())


def test_identical_differences_have_no_p_value() -> None:
    """They point to a mistake rather than to certainty."""
    errors = pd.DataFrame({"baseline": [4.0, 5.0], "v1": [3.0, 4.0]})

    found = compare_with_baseline(errors, "baseline", family=1)["v1"]

    assert found.mean == -1
    assert np.isnan(found.p)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_other_rows_lend_no_spread_to_identical_differences(shift: float) -> None:
    """A setting that does nothing is not equivalent because its neighbours vary."""
    errors = make_errors(5)
    errors["v1"] = errors["baseline"] + shift

    found = compare_with_baseline(errors, "baseline", family=3)

    assert np.isnan(found["v1"].p)
    assert found["v1"].half_width > 0
    verdict = decide(found["v1"], margin=0.5, family=3)
    assert verdict is not None
    assert verdict.reason == "the difference is identical in every seed"
    assert not np.isnan(found["v2"].p)


def test_without_the_baseline_there_are_no_differences() -> None:
    """It was excluded, or every seed failed."""
    assert compare_with_baseline(make_errors(6), "other", family=3) == {}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni(p_values: list[float]) -> None:
    """And keeps the order of p-values."""
    corrected = correct_by_holm(p_values, family=len(p_values))

    for p, c in zip(p_values, corrected, strict=True):
        assert p <= c <= min(1.0, p * len(p_values)) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


@pytest.mark.parametrize("family", [1, 4, 10])
def test_the_hardest_test_of_the_correction_has_the_smallest_share(family: int) -> None:
    """Alone significant, at exactly this share of the level."""
    p_values = [0.05 * CORRECTION.smallest_share(family), *[1.0] * (family - 1)]

    assert CORRECTION.correct(p_values, family=family)[0] == pytest.approx(0.05)


def test_unknown_p_values_count_in_the_family() -> None:
    """A row without a p-value stays without, and does not make the others easier."""
    corrected = CORRECTION.correct([0.02, np.nan, 0.01], family=3)

    np.testing.assert_allclose(corrected, [0.04, np.nan, 0.03])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_a_shift_of_a_row_shifts_its_difference_alone(seed: int, shift: float) -> None:
    """Its interval and all other rows stay the same."""
    errors = make_errors(seed)
    shifted = errors.assign(v1=errors["v1"] + shift)

    before = compare_with_baseline(errors, "baseline", family=3)
    after = compare_with_baseline(shifted, "baseline", family=3)

    assert after["v1"].mean - before["v1"].mean == pytest.approx(shift, abs=1e-9)
    assert after["v2"].mean == pytest.approx(before["v2"].mean)
    assert after["v1"].half_width == pytest.approx(before["v1"].half_width)


def test_equal_variants_rarely_get_a_verdict() -> None:
    """At most about one in twenty of 400 tables contains a false verdict."""
    false = 0
    for seed in range(400):
        found = compare_with_baseline(make_errors(seed, seeds=3), "baseline", family=3)
        false += any(row.p_corrected < 0.05 for row in found.values())

    assert false / 400 < 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_statistics_import_quickly() -> None:
    """Importing `scipy.stats` alone takes half a second."""
    code = "import sys, ablations.statistics; print('scipy.stats' in sys.modules)"

    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert answer.stdout == "False\n"
