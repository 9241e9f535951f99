"""Claims in terms of variants -> supported, contradicted or undecided, each with its scope."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ablations.config import Claim, Statement
from ablations.statistics import (
    FEWEST_SEEDS,
    SIGNIFICANCE,
    Difference,
    compare_rows,
    correct_by_holm,
    measure_spread,
)

Word = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the seeds say of one statement about two variants, for it and against it.

    The p-values are twice the one-sided ones, so that they are held against the level of a
    two-sided test; 1 where nothing can be declared.
    """

    statement: str
    """The statement in words."""

    n: int
    """Number of seeds finished in both variants."""

    difference: float | None
    """Of the first variant from the second, in points; None without a common seed."""

    half_width: float | None
    """Half the interval of the difference alone; None if unknown."""

    p_for: float
    """Of the statement."""

    p_against: float
    """Of its reverse: worse, or different by more than the margin."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the trials say of a claim."""

    name: str
    """The claim in words."""

    word: Word
    """The verdict."""

    scope: str
    """What the verdict speaks of: recipe, dataset, body, n."""

    p_holm: float
    """p-value of the verdict, or of the nearest one if undecided; corrected over the claims."""

    parts: tuple[Evidence, ...]
    """What it rests on."""

    @property
    def verdict(self) -> str:
        """The verdict with its scope."""
        return f"{self.word} ({self.scope})"


def judge_claims(
    claims: Sequence[Claim],
    errors: pd.DataFrame,
    *,
    baseline: str,
    margin: float,
    broken: Set[str],
    variants: Sequence[str],
    scope: str,
) -> tuple[Judgement, ...]:
    """Holds claims against errors (rule 13), corrected by Holm over the claims.

    Args:
        claims: Of one experiment.
        errors: Top-1 error (%); a row for each seed, a column for each variant, NaN where a trial
            is not finished.
        baseline: The variant whose differences tell the spread, as in the table.
        margin: Points of error below which a difference does not matter.
        broken: Variants with a failed or diverged seed; nothing is declared in their favour.
        variants: All that the experiment declares.
        scope: What the verdicts speak of; n is added to it.
    """
    spread = measure_spread(errors, baseline) if baseline in errors else None
    judged = []
    for claim in claims:
        parts = tuple(
            weigh(
                statement,
                compare_rows(errors, *statement.pair, spread=spread) if spread else None,
                margin=margin,
                broken=broken,
            )
            for statement in list_statements(claim, variants)
        )
        judged.append((claim, parts, *combine(claim, parts)))
    corrected = correct_by_holm([min(p, q) for _, _, p, q in judged], family=len(claims))
    return tuple(
        Judgement(
            name=claim.name,
            word=_choose_word(p, p_for=p_for, p_against=p_against),
            scope=f"{scope}, n={min(part.n for part in parts)}",
            p_holm=p,
            parts=parts,
        )
        for (claim, parts, p_for, p_against), p in zip(judged, corrected, strict=True)
    )


def list_statements(claim: Claim, variants: Sequence[str]) -> list[Statement]:
    """The statements about two variants that a claim is made of.

    >>> claim = Claim(name="a is best", best=("a",))
    >>> [statement.pair for statement in list_statements(claim, ["a", "b", "c"])]
    [('a', 'b'), ('a', 'c')]
    """
    if claim.statement is not None:
        return [claim.statement]
    others = [name for name in variants if name not in claim.best]
    if claim.best:
        return [Statement(better=name, than=other) for name in claim.best for other in others]
    return [*claim.for_every, *claim.at_least_one]


def weigh(
    statement: Statement, difference: Difference | None, *, margin: float, broken: Set[str]
) -> Evidence:
    """What a difference says of a statement."""
    row, other = statement.pair
    word = f"{row} better than {other}" if statement.better else f"{row} equivalent to {other}"
    if difference is None:
        return Evidence(
            statement=word, n=0, difference=None, half_width=None, p_for=1.0, p_against=1.0
        )
    p_for, p_against = 1.0, 1.0
    if difference.n >= FEWEST_SEEDS and difference.is_testable:
        test = _test_better if statement.better else _test_equivalent
        p_for, p_against = test(difference, statement.pair, margin, broken)
    return Evidence(
        statement=word,
        n=difference.n,
        difference=difference.mean,
        half_width=difference.half_width if difference.variance >= 0 else None,
        p_for=p_for,
        p_against=p_against,
    )


def combine(claim: Claim, parts: Sequence[Evidence]) -> tuple[float, float]:
    """A claim's p-values, for it and against it, from those of its parts.

    All of several things are shown by each of them at its own level; one of several, by the
    smallest p-value after a correction. The reverse of the one is the other. That a variant is the
    best is corrected besides, since it is picked from several.
    """
    supports, reverses = [part.p_for for part in parts], [part.p_against for part in parts]
    family = len(parts)
    if claim.at_least_one:
        return min(correct_by_holm(supports, family=family)), max(reverses)
    if claim.best:
        supports = correct_by_holm(supports, family=family)
    return max(supports), min(correct_by_holm(reverses, family=family))


def _test_better(
    difference: Difference, pair: tuple[str, str], _margin: float, broken: Set[str]
) -> tuple[float, float]:
    """What is left of a variant with a failed seed flatters it: it is not called the better."""
    row, other = pair
    p_for = 1.0 if row in broken else min(1.0, 2 * difference.p_below(0.0))
    p_against = 1.0 if other in broken else min(1.0, 2 * difference.p_above(0.0))
    return p_for, p_against


def _test_equivalent(
    difference: Difference, pair: tuple[str, str], margin: float, broken: Set[str]
) -> tuple[float, float]:
    """Within the margin: above its lower end and below its upper one."""
    inside = max(difference.p_above(-margin), difference.p_below(margin))
    better, worse = difference.p_below(-margin), difference.p_above(margin)
    row, other = pair
    outside = min(1.0 if row in broken else better, 1.0 if other in broken else worse)
    return (1.0 if broken & set(pair) else min(1.0, 2 * inside)), min(1.0, 2 * outside)


def _choose_word(p: float, *, p_for: float, p_against: float) -> Word:
    if p >= SIGNIFICANCE:
        return "undecided"
    return "supported" if p_for < p_against else "contradicted"
