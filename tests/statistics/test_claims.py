"""Claims get a verdict according to their kind, corrected, with their scope."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.config import Claim, Statement
from ablations.statistics import Judgement, judge_claims
from ablations.statistics.claims import CLAIM_KINDS, STATEMENT_KINDS

NOISE = np.random.default_rng(0).normal(0, 0.1, (5, 4))
NOISE -= NOISE.mean(axis=0)  # so that `same` is found to be equivalent
NAMES = ["base", "good", "bad", "same"]


def make_errors(*, seeds: int = 5, scale: float = 1.0) -> pd.DataFrame:
    """`good` is 1 point better than the baseline, `bad` 1 point worse, `same` equally good."""
    values = np.array([5.0, 4.0, 6.0, 5.0]) + scale * NOISE + np.arange(5)[:, None]
    return pd.DataFrame(values[:seeds], columns=NAMES)


def judge(
    *claims: Claim,
    errors: pd.DataFrame | None = None,
    broken: Sequence[str] = (),
) -> tuple[Judgement, ...]:
    """Judges claims on four rows with five seeds."""
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
    """States that a row's error is lower."""
    return Statement(better=row, than=other)


def equivalent(row: str, other: str) -> Statement:
    """States that two rows differ by less than the margin."""
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
        (Claim(name="c", best=("good", "base")), "undecided"),  # `same` is not known to be worse
        (Claim(name="c", best=("good", "base", "same")), "supported"),
    ],
)  # fmt: skip
def test_every_kind_of_claim_gets_its_verdict(claim: Claim, word: str) -> None:
    """Single statements, all of several, one of several, the best, and the reverses."""
    [judgement] = judge(claim)

    assert judgement.verdict == f"{word} (quick: digits, tiny, n=5)"


def test_a_claim_on_two_rows_is_a_paired_t_test() -> None:
    """If the table has no other row, the p-value is SciPy's."""
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

    assert judgement.p_corrected == pytest.approx(expected)


def test_two_rows_are_compared_with_the_guarded_variance() -> None:
    """The largest of the pooled, their own and the mean variance, with the model's degrees."""
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
    """A claim that is supported alone may be undecided among many."""
    claim = Claim(name="c", better="good", than="base")
    others = [Claim(name=f"c{i}", better="same", than="base") for i in range(9)]

    [alone], [first, *_] = judge(claim), judge(claim, *others)

    assert first.p_corrected == pytest.approx(10 * alone.p_corrected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_union_needs_a_significant_part(seed: int) -> None:
    """And an intersection needs every part to be significant."""
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
def test_claims_on_fewer_than_three_seeds_are_undecided(seeds: int) -> None:
    """However large the difference is."""
    [judgement] = judge(Claim(name="c", better="good", than="bad"), errors=make_errors(seeds=seeds))

    assert judgement.verdict == f"undecided (quick: digits, tiny, n={seeds})"


def test_claims_on_rows_without_results_are_undecided() -> None:
    """Of the claim's own rows, or of the baseline."""
    errors = make_errors()
    claim = Claim(name="c", better="good", than="base")

    for missing in ("good", "base"):
        [judgement] = judge(claim, errors=errors.drop(columns=missing))

        assert judgement.verdict == "undecided (quick: digits, tiny, n=0)"


def test_no_verdict_favours_a_variant_with_a_failed_seed() -> None:
    """Neither support nor contradiction."""
    claims = (
        Claim(name="better", better="good", than="base"),
        Claim(name="worse", better="base", than="good"),
        Claim(name="alike", equivalent="same", to="base"),
    )

    of_row = judge(*claims, broken=["good", "same"])
    of_baseline = judge(*claims, broken=["base"])

    assert [judgement.word for judgement in of_row] == ["undecided"] * 3
    assert [j.word for j in of_baseline] == ["supported", "contradicted", "undecided"]


def test_identical_differences_are_undecided() -> None:
    """They point to a mistake rather than to certainty, also if other rows vary."""
    varying = make_errors()
    varying["same"] = varying["base"]

    [better] = judge(Claim(name="c", better="good", than="base"), errors=make_errors(scale=0))
    [alike] = judge(Claim(name="c", equivalent="same", to="base"), errors=varying)

    assert better.word == "undecided"
    assert alike.word == "undecided"


def test_no_claims_give_no_verdicts() -> None:
    """Most users' experiments have no claims."""
    assert judge() == ()


def test_every_field_of_a_claim_belongs_to_a_kind() -> None:
    """A field of the schema without an entry in the registry would be ignored."""
    others = {"than", "to"}

    assert set(Claim.model_fields) - others - {"name"} == set(CLAIM_KINDS)
    assert set(Statement.model_fields) - others == set(STATEMENT_KINDS)
