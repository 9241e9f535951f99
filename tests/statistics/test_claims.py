"""Claims get a verdict by their form, corrected, with their scope."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.config import Claim, Statement
from ablations.statistics.claims import Judgement, judge_claims

NOISE = np.random.default_rng(0).normal(0, 0.1, (5, 4))
NOISE -= NOISE.mean(axis=0)  # so that a row that is the same is seen as such
NAMES = ["base", "good", "bad", "same"]


def make_errors(*, seeds: int = 5, scale: float = 1.0) -> pd.DataFrame:
    """The good row is 1 point better than the baseline, the bad one 1 worse, the last as good."""
    values = np.array([5.0, 4.0, 6.0, 5.0]) + scale * NOISE + np.arange(5)[:, None]
    return pd.DataFrame(values[:seeds], columns=NAMES)


def judge(
    *claims: Claim,
    errors: pd.DataFrame | None = None,
    broken: Sequence[str] = (),
) -> tuple[Judgement, ...]:
    """The verdicts on claims on four rows of five seeds."""
    return judge_claims(
        claims,
        make_errors() if errors is None else errors,
        baseline="base",
        margin=0.5,
        broken=set(broken),
        variants=NAMES,
        scope="quick: digits, tiny",
    )


def better(row: str, other: str) -> Statement:
    """That a row's error is lower."""
    return Statement(better=row, than=other)


def equivalent(row: str, other: str) -> Statement:
    """That two rows differ by less than the margin."""
    return Statement(equivalent=row, to=other)


@pytest.mark.parametrize(
    ("claim", "word"),
    [
        (Claim(name="c", better="good", than="base"), "supported"),
        (Claim(name="c", better="base", than="good"), "contradicted"),
        (Claim(name="c", better="good", than="bad"), "supported"),
        (Claim(name="c", better="same", than="base"), "undecided"),
        (Claim(name="c", equivalent="same", to="base"), "supported"),
        (Claim(name="c", equivalent="good", to="bad"), "contradicted"),
        (Claim(name="c", for_every=(better("good", "base"), better("base", "bad"))), "supported"),
        (Claim(name="c", for_every=(better("good", "base"), better("bad", "base"))),
         "contradicted"),
        (Claim(name="c", for_every=(better("good", "base"), better("same", "base"))), "undecided"),
        (Claim(name="c", for_every=(better("good", "bad"), equivalent("same", "base"))),
         "supported"),
        (Claim(name="c", at_least_one=(better("bad", "base"), better("good", "base"))),
         "supported"),
        (Claim(name="c", at_least_one=(better("bad", "base"), better("base", "good"))),
         "contradicted"),
        (Claim(name="c", at_least_one=(better("bad", "base"), better("same", "base"))),
         "undecided"),
        (Claim(name="c", best=("good",)), "supported"),
        (Claim(name="c", best=("bad",)), "contradicted"),
        (Claim(name="c", best=("good", "base")), "undecided"),  # nobody knows of `same`
        (Claim(name="c", best=("good", "base", "same")), "supported"),
    ],
)  # fmt: skip
def test_every_form_of_a_claim(claim: Claim, word: str) -> None:
    """All of several, one of several, the best, and the reverses."""
    [judgement] = judge(claim)

    assert judgement.verdict == f"{word} (quick: digits, tiny, n=5)"


def test_one_pair_is_a_paired_t_test() -> None:
    """With two rows alone, the claim's p-value is SciPy's."""
    errors = make_errors(scale=8)[["base", "good"]]
    expected = stats.ttest_rel(errors["good"], errors["base"]).pvalue

    [judgement] = judge_claims(
        [Claim(name="c", better="good", than="base")],
        errors,
        baseline="base",
        margin=0.5,
        broken=set(),
        variants=["base", "good"],
        scope="",
    )

    assert judgement.p_holm == pytest.approx(expected)


def test_two_rows_are_judged_with_the_tables_spread() -> None:
    """Largest of the pooled, their own and the rows' mean variance; the model's degrees."""
    errors = make_errors()
    values = errors.to_numpy()
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    own = (errors["good"] - errors["bad"]).var()
    mean = np.mean([(errors[name] - errors["base"]).var() for name in NAMES[1:]])
    variance = max(2 * (residuals**2).sum() / 12, own, mean)

    [judgement] = judge(Claim(name="c", better="good", than="bad"))

    expected = stats.t.ppf(0.975, 12) * np.sqrt(variance / 5)
    assert judgement.parts[0].half_width == pytest.approx(expected)


def test_claims_are_corrected_together() -> None:
    """One that stands alone may not stand among many."""
    claim = Claim(name="c", better="good", than="base")
    others = [Claim(name=f"c{i}", better="same", than="base") for i in range(9)]

    [alone], [first, *_] = judge(claim), judge(claim, *others)

    assert first.p_holm == pytest.approx(10 * alone.p_holm)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_union_is_never_easier_than_its_easiest_part(seed: int) -> None:
    """And an intersection never easier than its hardest one."""
    generator = np.random.default_rng(seed)
    errors = pd.DataFrame(generator.normal(5, 1, (4, 4)), columns=NAMES)
    statements = (better("good", "base"), better("good", "bad"), better("same", "base"))
    claims = [
        Claim(name="every", for_every=statements),
        Claim(name="one", at_least_one=statements),
    ]

    every, one = judge(*claims, errors=errors)

    p_for = [part.p_for for part in every.parts]
    assert min(p_for) < 0.025 or one.word != "supported"
    assert max(p_for) < 0.05 or every.word != "supported"


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_decide_nothing(seeds: int) -> None:
    """However large the difference."""
    [judgement] = judge(Claim(name="c", better="good", than="bad"), errors=make_errors(seeds=seeds))

    assert judgement.verdict == f"undecided (quick: digits, tiny, n={seeds})"


def test_rows_without_results_decide_nothing() -> None:
    """A claim on what was not trained, or without the baseline's spread."""
    errors = make_errors()
    claim = Claim(name="c", better="good", than="base")

    for missing in ("good", "base"):
        [judgement] = judge(claim, errors=errors.drop(columns=missing))

        assert judgement.verdict == "undecided (quick: digits, tiny, n=0)"


def test_a_broken_row_is_never_favoured() -> None:
    """Neither by support nor by contradiction."""
    claims = (
        Claim(name="better", better="good", than="base"),
        Claim(name="worse", better="base", than="good"),
        Claim(name="alike", equivalent="same", to="base"),
    )

    of_row = judge(*claims, broken=["good", "same"])
    of_baseline = judge(*claims, broken=["base"])

    assert [judgement.word for judgement in of_row] == ["undecided"] * 3
    assert [j.word for j in of_baseline] == ["supported", "contradicted", "undecided"]


def test_no_spread_decides_nothing() -> None:
    """Equal differences in every seed are a sign of a mistake."""
    [judgement] = judge(Claim(name="c", better="good", than="base"), errors=make_errors(scale=0))

    assert judgement.word == "undecided"


def test_no_claims_no_verdicts() -> None:
    """Most experiments of a user have none."""
    assert judge() == ()
