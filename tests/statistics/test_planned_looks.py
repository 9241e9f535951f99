"""Planned looks: what they decide stays decided, and only the rest gets further seeds."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.config import Claim
from ablations.statistics import (
    CORRECTION,
    SIGNIFICANCE,
    Path,
    Question,
    Sample,
    compare_with_baseline,
    decide,
    find_level,
    follow_looks,
    is_exploratory,
    judge_claims,
    list_active,
)

LOOKS = (3, 5, 8)
NAMES = ("base", "good", "near", "same")
QUESTION = Question(looks=LOOKS, baseline="base", variants=NAMES, margin=0.5, scope="quick")
PATHS = 100_000


def make_errors(near: Sequence[float] = (0.4, 0.4, 0.4)) -> pd.DataFrame:
    """`good` is 2 points better, `same` equally good; `near` differs by so much up to each look.

    The noise adds up to 0 at every look.
    """
    noise = np.random.default_rng(0).normal(0, 0.24, (LOOKS[-1], len(NAMES)))
    shifts = np.tile([5.0, 3.0, 5.0, 5.0], (LOOKS[-1], 1))
    for before, n in pairwise((0, *LOOKS)):
        noise[before:n] -= noise[before:n].mean(axis=0)
    for (before, n), shift in zip(pairwise((0, *LOOKS)), near, strict=True):
        shifts[before:n, 2] += shift
    values = shifts + noise + np.arange(LOOKS[-1])[:, None]
    return pd.DataFrame(values, columns=list(NAMES))


def make_sample(
    errors: pd.DataFrame,
    *,
    broken: Sequence[tuple[int, str]] = (),
    pending: Sequence[tuple[int, str]] = (),
) -> Sample:
    """All trials are finished but those listed by seed and variant."""
    errors = errors.copy()
    tables = []
    for cells in (broken, pending):
        table = pd.DataFrame(data=False, index=errors.index, columns=errors.columns)
        for seed, name in cells:
            table.loc[seed, name] = True
            errors.loc[seed, name] = np.nan
        tables.append(table)
    return Sample(errors=errors, broken=tables[0], pending=tables[1])


def follow(errors: pd.DataFrame, question: Question = QUESTION) -> Path:
    """Takes all looks at finished trials."""
    return follow_looks(question, make_sample(errors))


def list_words(path: Path) -> dict[str, str]:
    """The verdict on each row."""
    return {name: verdict.word for name, verdict in path.verdicts.items()}


@pytest.mark.parametrize(
    "looks", [(3, 5, 8, 12, 20), (3, 5, 10, 20), tuple(range(3, 21)), (998, 999, 1000)]
)
def test_all_looks_together_keep_the_level(looks: tuple[int, ...]) -> None:
    """Simulated: how often the mean of n seeds exceeds its bound at any look."""
    generator = np.random.default_rng(0)
    steps = np.diff((0, *looks))
    sums = (generator.standard_normal((PATHS, len(looks))) * np.sqrt(steps)).cumsum(axis=1)
    statistics = np.abs(sums) / np.sqrt(looks)
    bound = stats.norm.isf(find_level(looks) / 2)

    rate = (statistics > bound).any(axis=1).mean()

    error = (SIGNIFICANCE * (1 - SIGNIFICANCE) / PATHS) ** 0.5
    assert rate == pytest.approx(SIGNIFICANCE, abs=3 * error)


@pytest.mark.parametrize(
    ("looks", "level"), [((3, 5, 8, 12, 20), 0.0146), ((3, 5, 10, 20), 0.0164), ((3, 20), 0.0262)]
)
def test_levels_are_known(looks: tuple[int, ...], level: float) -> None:
    """They are part of every table with planned looks."""
    assert find_level(looks) == pytest.approx(level, abs=0.00005)


@pytest.mark.parametrize("n", [3, 5, 100])
def test_a_single_look_tests_at_five_percent(n: int) -> None:
    """Whatever its number of seeds."""
    assert find_level((n,)) == SIGNIFICANCE


@settings(max_examples=20, deadline=None)
@given(looks=st.sets(st.integers(3, 200), min_size=2, max_size=6).map(lambda n: tuple(sorted(n))))
def test_another_look_lowers_the_level(looks: tuple[int, ...]) -> None:
    """But never below Bonferroni's."""
    level = find_level(looks)

    assert SIGNIFICANCE / len(looks) < level < find_level(looks[:-1])


@pytest.mark.parametrize("seed", range(5))
def test_a_single_look_is_the_procedure_without_looks(seed: int) -> None:
    """To the last digit."""
    errors = make_errors((0.1 * seed,) * 3)
    errors.loc[seed, "near"] = np.nan
    claims = (
        Claim(name="good is better", better="good", than="near"),
        Claim(name="same is equivalent", equivalent="same", to="base"),
    )
    question = replace(QUESTION, looks=(8,), claims=claims)
    sample = make_sample(errors, broken=[(seed, "near")])
    expected = compare_with_baseline(errors, "base", family=3)

    path = follow_looks(question, sample)

    assert path.differences == expected
    assert path.verdicts == {
        name: decide(difference, margin=0.5, family=3, is_row_broken=name == "near")
        for name, difference in expected.items()
    }
    assert path.claims == judge_claims(
        claims,
        errors,
        baseline="base",
        margin=0.5,
        broken={"near"},
        variants=NAMES,
        scope="quick",
    )
    assert path.needed == {}


def test_what_is_decided_gets_no_further_seeds() -> None:
    """Only the baseline and the open rows do."""
    path = follow(make_errors())

    assert list_words(path) == {"good": "better", "near": "worse", "same": "equivalent"}
    assert path.decided_at == {"good": 3, "near": 5, "same": 3}
    assert path.seeds == {"base": 5, "good": 3, "near": 5, "same": 3}
    assert [look.n for look in path.looks] == [3, 5]
    assert list_active(path) == frozenset()
    assert path.needed == {}


@pytest.mark.parametrize("row", ["good", "same"])
def test_a_verdict_is_final(row: str) -> None:
    """Better, worse and equivalent alike, whatever later seeds would say."""
    errors = make_errors()
    expected = follow(errors)
    errors.loc[3:, row] += 50.0

    path = follow(errors)

    assert path.verdicts == expected.verdicts
    assert path.differences == expected.differences


def test_a_decided_row_shows_the_numbers_of_its_look() -> None:
    """Its difference and interval are those of three seeds, although the baseline has five."""
    errors = make_errors()
    at_three = compare_with_baseline(errors[:3], "base", family=3, level=find_level(LOOKS))

    path = follow(errors)

    assert path.differences["good"] == at_three["good"]
    assert path.differences["same"] == at_three["same"]
    assert path.shown_seeds == {"base": 5, "good": 3, "near": 5, "same": 3}


def test_an_open_claim_gives_decided_rows_further_seeds() -> None:
    """Which change the claim, but not the verdict on the row."""
    claim = Claim(name="near equals same", equivalent="near", to="same")
    errors = make_errors()
    expected = follow(errors)

    path = follow(errors, replace(QUESTION, claims=(claim,)))

    assert path.looks[0].claims[0].word == "undecided"
    assert path.seeds["same"] > expected.seeds["same"]
    assert path.seeds["good"] == 3
    assert path.decided_at == expected.decided_at
    assert path.shown_seeds["same"] == 3
    assert path.differences["same"] == expected.differences["same"]


def test_holm_corrects_over_the_rows_that_are_not_declared() -> None:
    """A declared row passes its share of the level on; an equivalent one keeps it."""
    errors = make_errors()
    seeds = {"base": 5, "good": 3, "near": 5, "same": 3}
    known = errors.where(np.arange(len(errors))[:, None] < np.array([seeds[n] for n in NAMES]))

    first, second = follow(errors).looks

    assert (first.family, second.family) == (3, 2)
    assert list(second.differences) == ["near"]
    alone = compare_with_baseline(known, "base", family=3)["near"].p
    assert second.differences["near"].p_corrected == pytest.approx(2 * alone)
    p = [difference.p for difference in first.differences.values()]
    found = [difference.p_corrected for difference in first.differences.values()]
    assert found == CORRECTION.correct(p, family=3).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_only_the_trials_that_the_looks_ask_for_count(seed: int) -> None:
    """Records from other plans change no number."""
    generator = np.random.default_rng(seed)
    errors = pd.DataFrame(generator.normal(5, 0.5, (8, 4)), columns=list(NAMES))
    errors["good"] -= 1.0
    expected = follow(errors)
    asked = pd.DataFrame({name: np.arange(8) < expected.seeds[name] for name in NAMES})
    others = pd.DataFrame(generator.normal(90, 9, (8, 4)), columns=list(NAMES))

    for surplus in (others, others * np.nan):
        path = follow(errors.where(asked, surplus))

        assert path == expected


def test_a_look_waits_for_its_trials() -> None:
    """Until then the earlier look stands, and says what the next one needs."""
    errors = make_errors()
    sample = make_sample(errors, pending=[(4, "near")])

    path = follow_looks(QUESTION, sample)

    assert path.looks == follow(errors).looks[:1]
    assert path.needed == {"base": 5, "good": 3, "near": 5, "same": 3}


@pytest.mark.parametrize("pending", [(7, "near"), (3, "good"), (4, "same")])
def test_no_look_waits_for_trials_that_it_does_not_ask_for(pending: tuple[int, str]) -> None:
    """Decided rows and later seeds."""
    errors = make_errors()

    path = follow_looks(QUESTION, make_sample(errors, pending=[pending]))

    assert path.decided_at == follow(errors).decided_at
    assert path.needed == {}


def test_the_first_look_shows_what_there_is() -> None:
    """And needs all its trials."""
    pending = [(seed, name) for seed in range(8) for name in NAMES if name != "base" or seed > 0]

    path = follow_looks(QUESTION, make_sample(make_errors(), pending=pending))

    assert path.verdicts == {}
    assert path.needed == dict.fromkeys(NAMES, 3)


def test_the_last_look_needs_nothing() -> None:
    """What it leaves undecided stays so."""
    path = follow(make_errors((0.1, 0.1, 0.1)), replace(QUESTION, margin=0.2, looks=(3, 5)))

    assert [look.n for look in path.looks] == [3, 5]
    assert path.verdicts["near"].word == "undecided"
    assert path.open_rows == ("near",)
    assert path.needed == {}


def test_claims_are_final_and_pass_their_share_on() -> None:
    """The second look corrects only over the claims that the first left open."""
    claims = (
        Claim(name="open", better="base", than="near"),
        Claim(name="decided", better="good", than="base"),
    )
    errors = make_errors((0.3, 0.5, 0.5))
    alone = replace(QUESTION, claims=claims[:1])
    errors_later = errors.copy()
    errors_later.loc[3:, "good"] += 50.0

    first, second = follow(errors, replace(QUESTION, claims=claims)).looks

    assert [claim.word for claim in first.claims] == ["undecided", "supported"]
    assert [claim.name for claim in second.claims] == ["open"]
    assert second.claims == follow(errors, alone).looks[1].claims
    path = follow(errors_later, replace(QUESTION, claims=claims))
    assert [claim.name for claim in path.claims] == ["open", "decided"]
    assert [claim.word for claim in path.claims] == ["supported", "supported"]


def test_a_broken_row_stays_open() -> None:
    """It is not called better, so it uses all looks; its failures later on do not count earlier."""
    early = follow_looks(QUESTION, make_sample(make_errors(), broken=[(1, "good")]))
    late = follow_looks(QUESTION, make_sample(make_errors(), broken=[(4, "good")]))

    assert early.verdicts["good"].word == "undecided"
    assert "failed or diverged" in early.verdicts["good"].reason
    assert early.seeds["good"] == 8
    assert late.verdicts["good"].word == "better"
    assert late.seeds["good"] == 3


def test_skipped_variants_get_no_further_seeds() -> None:
    """But count in the family, as rows that are hidden by `--only`."""
    question = replace(QUESTION, skipped=frozenset({"near"}))

    path = follow(make_errors(), question)

    assert path.seeds == dict.fromkeys(NAMES, 3)
    assert path.looks[0].family == 3
    assert path.open_rows == ("near",)
    assert list_active(path) == frozenset()


@pytest.mark.parametrize(
    ("seeds", "looks", "expected"),
    [
        (8, [], False),
        (8, [3], False),
        (8, [3, 5, 8, 5, 3], False),  # looking again does no harm
        (8, [1, 2, 3], False),  # neither does looking at seeds that decide nothing
        (8, [4], True),
        (8, [3, 4, 5], True),
        (5, [3], True),  # other seeds than planned
        (10, [3, 5, 8], True),
    ],
)
def test_looks_outside_the_plan_are_exploratory(
    seeds: int, looks: list[int], expected: bool
) -> None:
    """One could choose them by what the table says (rule 21)."""
    taken = [range(n) for n in looks]

    assert is_exploratory(range(seeds), looks=taken, planned=LOOKS) is expected
