"""Agreement with printed rankings, against independent computations."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.statistics import Agreement, measure_agreement
from ablations.statistics.agreement import compute_tau

NAMES = tuple("abcdefghijkl")


def make_errors(means: list[float], *, seeds: int = 3, noise: float = 0.01) -> pd.DataFrame:
    """Draws errors around these means."""
    drawn = np.random.default_rng(1).normal(means, noise, (seeds, len(means)))
    return pd.DataFrame(drawn, columns=list(NAMES[: len(means)]))


def measure(errors: pd.DataFrame, printed: list[float]) -> Agreement | None:
    """Measures the agreement with printed errors, given in the order of the columns."""
    return measure_agreement(
        errors,
        dict(zip(errors.columns, printed, strict=True)),
        reference="top1_error",
        generator=np.random.default_rng(0),
    )


def rank(errors: pd.DataFrame, printed: list[float]) -> Agreement:
    """The agreement, where there is one."""
    found = measure(errors, printed)
    assert found is not None
    return found


@given(
    pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12),
)
@settings(deadline=None)
def test_tau_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    """With any number of ties, and undefined if all values are equal."""
    x, y = np.array(pairs, dtype=float).T

    expected = stats.kendalltau(x, y).statistic

    assert float(compute_tau(x, y)) == pytest.approx(expected, nan_ok=True)


def test_tau_of_many_rankings_is_computed_at_once() -> None:
    """One value per ranking, the same as one by one."""
    generator = np.random.default_rng(0)
    x, many = generator.integers(0, 5, 9), generator.integers(0, 5, (50, 9))

    assert compute_tau(x, many) == pytest.approx([float(compute_tau(x, y)) for y in many])


@pytest.mark.parametrize(
    "printed", [[1.0, 2.0, 3.0, 4.0, 5.0], [3.0, 1.0, 2.0, 5.0, 4.0], [2.0, 1.0, 1.0, 3.0, 3.0]]
)
def test_the_exact_p_is_that_of_all_permutations(printed: list[float]) -> None:
    """The share with a tau at least as far from zero, also with ties."""
    errors = make_errors([1, 2, 3, 4, 5])
    means = errors.mean().to_numpy()
    taus = [stats.kendalltau(printed, order).statistic for order in permutations(means)]

    found = rank(errors, printed)

    assert found.is_exact
    assert found.tau == pytest.approx(stats.kendalltau(printed, means).statistic)
    assert found.p == np.mean(np.abs(taus) >= abs(found.tau) - 1e-9)


def test_without_ties_the_exact_p_is_that_of_scipy() -> None:
    """SciPy counts permutations by a recurrence."""
    errors = make_errors([1, 2, 3, 4, 5, 6, 7, 8])
    printed = [2.0, 1.0, 4.0, 3.0, 8.0, 5.0, 7.0, 6.0]

    expected = stats.kendalltau(printed, errors.mean(), method="exact")

    assert rank(errors, printed).p == pytest.approx(expected.pvalue)


def test_many_rows_have_random_permutations() -> None:
    """Their p-value is that of all permutations, to within four standard errors."""
    errors = make_errors([float(mean) for mean in range(9)])
    printed = [2.0, 0.0, 1.0, 6.0, 3.0, 8.0, 4.0, 7.0, 5.0]
    expected = stats.kendalltau(printed, errors.mean(), method="exact").pvalue

    found = rank(errors, printed)

    assert not found.is_exact
    assert found.p == pytest.approx(expected, abs=4 * (expected / 100_000) ** 0.5)


def test_a_reversed_ranking_disagrees() -> None:
    """Tau is -1, and two-sided p is as small as that of the same ranking: 2 of 24 orders."""
    errors = make_errors([1, 2, 3, 4])
    same, reverse = rank(errors, [1, 2, 3, 4]), rank(errors, [4, 3, 2, 1])

    assert (same.tau, same.interval) == (1.0, (1.0, 1.0))
    assert (reverse.tau, reverse.interval) == (-1.0, (-1.0, -1.0))
    assert same.p == reverse.p == pytest.approx(2 / 24)


def test_the_interval_reflects_noise_over_seeds() -> None:
    """Rows that overlap change places from sample to sample."""
    errors = make_errors([1, 2, 3, 4, 5, 6], seeds=5, noise=1.0)
    found = rank(errors, [1, 2, 3, 4, 5, 6])

    assert found.interval is not None
    low, high = found.interval
    assert low <= found.tau <= high
    assert low < high


def test_the_interval_is_that_of_seeds_drawn_one_by_one() -> None:
    """The same seeds for all rows: the vectorised bootstrap equals a plain loop."""
    errors = make_errors([1, 2, 3, 4, 5, 6], seeds=5, noise=1.0)
    printed = [1.0, 3.0, 2.0, 4.0, 6.0, 5.0]
    generator = np.random.default_rng(7)
    samples = [errors.iloc[generator.integers(0, 5, 5)].mean() for _ in range(3000)]
    taus = [float(compute_tau(printed, sample)) for sample in samples]

    interval = rank(errors, printed).interval

    assert interval == pytest.approx(np.quantile(taus, [0.025, 0.975]), abs=0.07)


def test_effects_that_all_rows_share_widen_no_interval() -> None:
    """A seed that raises all errors changes no ranking, since rows share their seeds."""
    errors = make_errors([1, 2, 3, 4]).add([0.0, 50.0, -50.0], axis="index")

    assert rank(errors, [1, 2, 3, 4]).interval == (1.0, 1.0)


def test_equal_calls_give_equal_results() -> None:
    """All randomness comes from the generator."""
    errors = make_errors([float(mean) for mean in range(9)], noise=3.0)
    printed = [float(value) for value in range(9)]

    assert measure(errors, printed) == measure(errors, printed)


def test_one_seed_has_no_interval() -> None:
    """One training says nothing about the spread, in a table or in any of its rows."""
    errors = make_errors([1, 2, 3, 4])
    partial = errors.copy()
    partial.loc[1:, "b"] = np.nan

    for table in (errors.iloc[:1], partial):
        found = rank(table, [1, 2, 3, 4])
        assert found.interval is None
        assert str(found) == "Kendall's tau-b = 1.00 (exact permutation p = 0.083; 4 rows)"


def test_rows_may_have_different_numbers_of_seeds() -> None:
    """A row's mean is over the seeds that it has; samples without any of them are left out."""
    errors = make_errors([1, 2, 3, 4, 5], seeds=12)
    errors.loc[2:, ["b", "d"]] = np.nan

    found = rank(errors, [1, 2, 3, 4, 5])

    assert (found.tau, found.interval, found.rows) == (1.0, (1.0, 1.0), 5)


def test_rows_without_either_error_are_left_out() -> None:
    """Whether they were not trained or not printed."""
    errors = make_errors([1, 2, 3, 4, 5, 6])
    errors["f"] = np.nan
    printed = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "f": 0.0, "only printed": 9.0}

    found = measure_agreement(
        errors, printed, reference="top1_error", generator=np.random.default_rng(0)
    )

    assert found is not None
    assert (found.rows, found.tau) == (4, 1.0)


@pytest.mark.parametrize("printed", [[1.0, 2.0, 3.0], [5.0, 5.0, 5.0, 5.0]])
def test_too_few_rows_or_equal_errors_have_no_agreement(printed: list[float]) -> None:
    """There is nothing to rank."""
    assert measure(make_errors([1.0, 2.0, 3.0, 4.0][: len(printed)]), printed) is None


def test_equal_measured_errors_have_no_agreement() -> None:
    """They may be equal up to rounding errors only."""
    errors = pd.DataFrame({"a": [0.1, 0.2], "b": [0.2, 0.1], "c": [0.15, 0.15], "d": [0.3, 0.0]})

    assert measure(errors, [1, 2, 3, 4]) is None


def test_the_words_of_an_agreement() -> None:
    """As notes print it."""
    found = Agreement(reference="top1_error", tau=0.62, interval=(-0.001, 0.78), p=0.0004, rows=10)

    assert str(found) == (
        "Kendall's tau-b = 0.62 (0.00 to 0.78 in 95 % of bootstrap samples of the seeds; "
        "permutation p < 0.001; 10 rows)"
    )
