"""Verdicts and image noise, against independent computations."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.statistics import (
    Difference,
    compare_two_networks,
    compare_with_baseline,
    count_seeds_needed,
    decide,
    estimate_image_error,
    is_exploratory,
)

DIFFERENCES = st.builds(
    Difference,
    n=st.integers(3, 20),
    mean=st.floats(-3, 3),
    variance=st.floats(1e-4, 4),
    df=st.integers(2, 40),
    p_corrected=st.floats(0, 1),
)


def make_difference(
    mean: float, *, n: int = 3, std: float = 0.1, p_corrected: float = 0.001
) -> Difference:
    """Makes a difference in a table of four rows, by default a clear one."""
    return Difference(n=n, mean=mean, variance=std**2, df=4 * (n - 1), p_corrected=p_corrected)


@pytest.mark.parametrize(
    ("mean", "std", "p_corrected", "text"),
    [
        (-2.0, 0.1, 0.001, "better"),
        (2.0, 0.1, 0.001, "worse"),
        (-0.2, 0.1, 0.04, "better, within the margin"),
        (0.2, 0.1, 0.04, "worse, within the margin"),
        (0.1, 0.1, 0.06, "equivalent"),
        (0.1, 0.9, 0.06, "undecided"),
        (-2.0, 0.9, 0.05, "undecided"),
        (0.45, 0.1, 0.06, "undecided"),  # the interval extends beyond the margin
    ],
)
def test_each_row_gets_one_verdict(mean: float, std: float, p_corrected: float, text: str) -> None:
    """By the corrected p-value first, then by the interval."""
    verdict = decide(make_difference(mean, std=std, p_corrected=p_corrected), margin=0.5, family=4)

    assert verdict is not None
    assert verdict.text == text


@pytest.mark.parametrize("seed", range(30))
def test_one_row_is_decided_by_the_paired_t_test(seed: int) -> None:
    """The same as SciPy's."""
    generator = np.random.default_rng(seed)
    errors = pd.DataFrame(generator.normal([5, 6], 0.7, (5, 2)), columns=["base", "row"])
    expected = stats.ttest_rel(errors["row"], errors["base"])
    low, high = expected.confidence_interval()

    found = compare_with_baseline(errors, "base", family=1)["row"]
    verdict = decide(found, margin=0.5, family=1)

    assert verdict is not None
    if expected.pvalue < 0.05:
        assert verdict.word == ("worse" if expected.statistic > 0 else "better")
    else:
        is_within = low >= -0.5 and high <= 0.5
        assert verdict.word == ("equivalent" if is_within else "undecided")


@given(difference=DIFFERENCES, margin=st.floats(0.01, 3))
def test_verdicts_agree_with_the_numbers(difference: Difference, margin: float) -> None:
    """Sign, significance and position of the interval follow from the verdict."""
    verdict = decide(difference, margin=margin, family=4)

    assert verdict is not None
    low, high = (difference.mean + side * difference.half_width for side in (-1, 1))
    is_within = -margin - 1e-9 <= low <= high <= margin + 1e-9
    if verdict.word in ("better", "worse"):
        assert difference.p_corrected < 0.05
        assert (verdict.word == "better") == (difference.mean < 0)
    if verdict.word == "equivalent" or verdict.within_margin:
        assert is_within
    assert (verdict.seeds_needed is not None) == (verdict.word == "undecided")


@given(difference=DIFFERENCES, margin=st.floats(0.01, 3))
def test_a_mirrored_difference_gets_the_mirrored_verdict(
    difference: Difference, margin: float
) -> None:
    """The procedure does not favour the baseline."""
    mirrored = Difference(
        n=difference.n,
        mean=-difference.mean,
        variance=difference.variance,
        df=difference.df,
        p_corrected=difference.p_corrected,
    )
    words = {"better": "worse", "worse": "better"}

    found, other = (decide(d, margin=margin, family=4) for d in (difference, mirrored))

    assert found is not None
    assert other is not None
    if difference.mean:
        assert other.word == words.get(found.word, found.word)


def test_fewer_than_three_seeds_decide_nothing() -> None:
    """One seed has no verdict at all, two seeds are undecided."""
    one = Difference(n=1, mean=-9.0, variance=float("nan"), df=0)
    two = decide(make_difference(-9.0, n=2), margin=0.5, family=4)

    assert decide(one, margin=0.5, family=4) is None
    assert two is not None
    assert (two.word, two.reason) == ("undecided", "n=2, a verdict needs at least 3 seeds")


def test_identical_differences_are_undecided() -> None:
    """They point to a mistake rather than to certainty."""
    verdict = decide(make_difference(-2.0, std=0.0), margin=0.5, family=4)

    assert verdict is not None
    assert (verdict.word, verdict.reason) == (
        "undecided",
        "the difference is identical in every seed",
    )


@pytest.mark.parametrize(
    ("mean", "p_corrected", "row", "baseline", "word"),
    [
        (-2.0, 0.001, True, False, "undecided"),
        (2.0, 0.001, True, False, "worse"),
        (0.0, 0.9, True, False, "undecided"),
        (-2.0, 0.001, False, True, "better"),
        (2.0, 0.001, False, True, "undecided"),
        (0.0, 0.9, False, True, "undecided"),
    ],
)
def test_a_row_with_a_failed_seed_is_never_better_and_never_equivalent(
    mean: float, p_corrected: float, row: bool, baseline: bool, word: str
) -> None:
    """The remaining seeds flatter it; the same is true of the baseline."""
    verdict = decide(
        make_difference(mean, p_corrected=p_corrected),
        margin=0.5,
        family=4,
        is_row_broken=row,
        is_baseline_broken=baseline,
    )

    assert verdict is not None
    assert verdict.word == word
    assert ("failed or diverged" in verdict.reason) == (word == "undecided")


def test_a_row_with_a_failed_seed_is_promised_no_verdict_by_more_seeds() -> None:
    """Whatever they show, it is called neither better nor equivalent."""
    verdict = decide(make_difference(-0.4), margin=0.5, family=4, is_row_broken=True)

    assert verdict is not None
    assert verdict.seeds_needed is None
    assert verdict.reason == (
        "a seed of the row failed or diverged, so the row can only be called worse"
    )


@settings(max_examples=25, deadline=None)
@given(mean=st.floats(-2, 2), std=st.floats(0.05, 1.5), family=st.integers(1, 10))
def test_seeds_needed_are_the_fewest(mean: float, std: float, family: int) -> None:
    """Checked one by one with SciPy's t."""

    def decides(m: int, *, difference_holds: bool) -> bool:
        df, error = family * (m - 1), std / m**0.5
        interval = stats.t.ppf(0.975, df) * error
        threshold = stats.t.ppf(1 - 0.025 / family, df) * error
        if difference_holds:
            return bool(threshold < abs(mean) or interval + abs(mean) <= 0.5)
        return bool(interval + threshold <= 0.5)

    expected = [
        next((m for m in range(4, 101) if decides(m, difference_holds=holds)), None)
        for holds in (False, True)
    ]

    difference = Difference(n=3, mean=mean, variance=std**2, df=2 * family)
    needed = count_seeds_needed(difference, margin=0.5, family=family)

    assert [needed.guaranteed, needed.if_difference_holds] == expected


def test_declared_rows_still_count_for_the_spread() -> None:
    """Three rows of four were declared: their seeds tell the spread of the one that is left."""
    left = Difference(n=5, mean=0.45, variance=0.25, df=4 * 4)
    alone = Difference(n=5, mean=0.45, variance=0.25, df=1 * 4)

    needed, other = (count_seeds_needed(d, margin=0.1, family=1) for d in (left, alone))

    assert needed.if_difference_holds is not None
    assert other.if_difference_holds is not None
    assert needed.if_difference_holds < other.if_difference_holds


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([], False),
        ([[0, 1, 2, 3, 4]], False),
        ([[0, 1, 2], [0, 1, 2, 3, 4]], False),
        ([[0], [0, 1], [0, 1, 2]], False),  # looks at fewer than three seeds do not count
        ([[0, 1, 2], [0, 1, 2, 3]], True),
        ([[5, 6, 7]], True),
        (
            [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6]],
            False,
        ),  # later looks do not count
    ],
)
def test_further_looks_are_exploratory(looks: list[list[int]], expected: bool) -> None:
    """One extension of the same seeds is allowed; later looks do not count."""
    assert is_exploratory([0, 1, 2, 3, 4], looks=looks) is expected
    assert is_exploratory([0, 1], looks=looks) is False


@pytest.mark.parametrize(("only_row", "only_baseline"), [(0, 0), (3, 9), (9, 3), (20, 20), (0, 6)])
def test_two_networks_are_compared_by_mcnemars_exact_test(
    only_row: int, only_baseline: int
) -> None:
    """The sign test on the images that they disagree on, the same as SciPy's."""
    row = np.array([True] * only_row + [False] * only_baseline + [True] * 7 + [False] * 5)
    baseline = np.array([False] * only_row + [True] * only_baseline + [True] * 7 + [False] * 5)
    total = only_row + only_baseline
    expected = stats.binomtest(only_row, total).pvalue if total else 1.0

    found = compare_two_networks(row, baseline)

    assert (found.only_row, found.only_baseline) == (only_row, only_baseline)
    assert found.p == pytest.approx(expected)


def test_image_noise_is_a_bootstrap_standard_error() -> None:
    """It agrees with SciPy's bootstrap and with the formula for a mean."""
    generator = np.random.default_rng(0)
    row, baseline = generator.random((3, 400)) < 0.9, generator.random((3, 400)) < 0.8
    by_image = 100 * (baseline.mean(axis=0) - row.mean(axis=0))
    resampled = stats.bootstrap((by_image,), np.mean, n_resamples=2000, rng=generator)

    error = estimate_image_error(row, baseline, np.random.default_rng(1))

    assert error == pytest.approx(resampled.standard_error, rel=0.08)
    assert error == pytest.approx(by_image.std() / 400**0.5, rel=0.03)
    assert error == estimate_image_error(row, baseline, np.random.default_rng(1))


def test_equal_outcomes_have_no_image_noise() -> None:
    """The data give no hint that other images would separate the networks."""
    outcomes = np.ones((2, 10), bool)

    assert estimate_image_error(outcomes, outcomes, np.random.default_rng(0)) == 0
