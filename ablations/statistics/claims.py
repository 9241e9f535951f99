"""Verdicts on claims: supported, contradicted or undecided, each with its scope.

Adding a kind of claim takes a field of `config.Claim` and an entry of `CLAIM_KINDS`; adding a kind
of statement about two variants, fields of `config.Statement` and an entry of `STATEMENT_KINDS`.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ablations.config import FEWEST_SEEDS, Claim, Statement
from ablations.statistics.corrections import CORRECTION
from ablations.statistics.differences import (
    SIGNIFICANCE,
    Difference,
    Spread,
    compare_rows,
    measure_spread,
)

Word = Literal["supported", "contradicted", "undecided"]

PValues = tuple[float, float]
"""p-values for a statement and for its reverse.

They are twice the one-sided ones, so that both are compared with the level of a two-sided test; 1
where no conclusion is possible.
"""


@dataclass(frozen=True, kw_only=True)
class StatementKind:
    """A kind of statement about two variants."""

    phrase: str
    """Format of the statement in words."""

    test: Callable[[Difference, float, tuple[bool, bool]], PValues]
    """Tests the statement on a difference, the margin, and whether each variant is broken."""


@dataclass(frozen=True, kw_only=True)
class ClaimKind:
    """A kind of claim."""

    list_statements: Callable[[Claim, Sequence[str]], Sequence[Statement]]
    """Lists the statements that a claim consists of, given all variants."""

    combine: Callable[[Sequence[float], Sequence[float]], PValues]
    """Combines the p-values for and against the statements into those of the claim."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the seeds say about one statement."""

    statement: str
    """The statement in words."""

    n: int
    """Number of seeds finished in both variants."""

    difference: float | None
    """Error of the first variant minus the second's, in points; None without a common seed."""

    half_width: float | None
    """Half the width of the difference's own interval; None if unknown."""

    p_for: float
    """p-value for the statement."""

    p_against: float
    """p-value for its reverse: worse, or different by more than the margin."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the trials say about a claim."""

    name: str
    """The claim in words."""

    word: Word
    """The verdict."""

    scope: str
    """What the verdict applies to: recipe, dataset, body, n."""

    p_corrected: float
    """p-value of the verdict, or of the closest one if undecided; corrected over the claims."""

    parts: tuple[Evidence, ...]
    """Evidence on each of the claim's statements."""

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
    family: int | None = None,
    level: float = SIGNIFICANCE,
) -> tuple[Judgement, ...]:
    """Tests claims against errors, corrected over the claims (rules 13 and 20).

    Args:
        claims: Claims of one experiment, without those decided at an earlier look.
        errors: Top-1 error (%), one row per seed and one column per variant; NaN where a trial is
            not finished.
        baseline: The table's baseline; differences from it enter the guarded variance.
        margin: Points of error below which a difference does not matter.
        broken: Variants with a failed or diverged seed; no conclusion favours them.
        variants: All variants of the experiment.
        scope: What the verdicts apply to; n is added to it.
        family: Number of claims to correct over; None for the number of `claims`.
        level: Level of the tests.
    """
    spread = measure_spread(errors, baseline) if baseline in errors else None
    kinds = [CLAIM_KINDS[_find_key(claim, CLAIM_KINDS)] for claim in claims]
    evidence = [
        _gather_evidence(
            kind.list_statements(claim, variants),
            errors,
            spread=spread,
            margin=margin,
            broken=broken,
            level=level,
        )
        for kind, claim in zip(kinds, claims, strict=True)
    ]
    combined = [
        kind.combine([part.p_for for part in parts], [part.p_against for part in parts])
        for kind, parts in zip(kinds, evidence, strict=True)
    ]
    names = [claim.name for claim in claims]
    return _judge(names, evidence, combined, scope=scope, family=family or len(claims), level=level)


def judge_evidence(
    claims: Mapping[str, Sequence[Evidence]], *, scope: str, level: float = SIGNIFICANCE
) -> tuple[Judgement, ...]:
    """Tests claims on measured effects, corrected over the claims (rule 13).

    Args:
        claims: Evidence on the statements of each claim, all of which must hold, by its name.
        scope: What the verdicts apply to; n is added to it.
        level: Level of the tests.
    """
    combined = [
        _combine_all([part.p_for for part in parts], [part.p_against for part in parts])
        for parts in claims.values()
    ]
    evidence = [tuple(parts) for parts in claims.values()]
    return _judge(list(claims), evidence, combined, scope=scope, family=len(claims), level=level)


def _judge(
    names: Sequence[str],
    evidence: Sequence[tuple[Evidence, ...]],
    combined: Sequence[PValues],
    *,
    scope: str,
    family: int,
    level: float,
) -> tuple[Judgement, ...]:
    corrected = CORRECTION.correct([min(pair) for pair in combined], family=family)
    return tuple(
        Judgement(
            name=name,
            word=_choose_word(float(p), pair, level),
            scope=f"{scope}, n={min(part.n for part in parts)}",
            p_corrected=float(p),
            parts=parts,
        )
        for name, parts, pair, p in zip(names, evidence, combined, corrected, strict=True)
    )


def _gather_evidence(
    statements: Sequence[Statement],
    errors: pd.DataFrame,
    *,
    spread: Spread | None,
    margin: float,
    broken: Set[str],
    level: float,
) -> tuple[Evidence, ...]:
    return tuple(
        _weigh(
            statement,
            compare_rows(errors, *statement.pair, spread=spread, level=level) if spread else None,
            margin=margin,
            broken=broken,
        )
        for statement in statements
    )


def _weigh(
    statement: Statement, difference: Difference | None, *, margin: float, broken: Set[str]
) -> Evidence:
    """Tests one statement on the difference of its variants."""
    kind = STATEMENT_KINDS[_find_key(statement, STATEMENT_KINDS)]
    row, other = statement.pair
    p_for, p_against = 1.0, 1.0
    if difference and difference.n >= FEWEST_SEEDS and difference.is_testable:
        p_for, p_against = kind.test(difference, margin, (row in broken, other in broken))
    return Evidence(
        statement=kind.phrase.format(row, other),
        n=difference.n if difference else 0,
        difference=difference.mean if difference else None,
        half_width=difference.half_width if difference and difference.variance >= 0 else None,
        p_for=p_for,
        p_against=p_against,
    )


def _find_key(said: Claim | Statement, kinds: Mapping[str, object]) -> str:
    """The field that says which kind a claim or a statement is; exactly one is set."""
    return next(key for key in kinds if getattr(said, key))


def _test_better(difference: Difference, _margin: float, is_broken: tuple[bool, bool]) -> PValues:
    """A variant with a failed seed is never called the better one: its other seeds flatter it."""
    p_for = 1.0 if is_broken[0] else min(1.0, 2 * difference.p_below(0.0))
    p_against = 1.0 if is_broken[1] else min(1.0, 2 * difference.p_above(0.0))
    return p_for, p_against


def _test_equivalent(
    difference: Difference, margin: float, is_broken: tuple[bool, bool]
) -> PValues:
    """Two one-sided tests: above the lower end of the margin, and below its upper end."""
    inside = max(difference.p_above(-margin), difference.p_below(margin))
    better, worse = difference.p_below(-margin), difference.p_above(margin)
    outside = min(1.0 if is_broken[0] else better, 1.0 if is_broken[1] else worse)
    return (1.0 if any(is_broken) else min(1.0, 2 * inside)), min(1.0, 2 * outside)


def _combine_all(p_for: Sequence[float], p_against: Sequence[float]) -> PValues:
    """All statements hold: each at its own level; contradicted by any, corrected over them."""
    return max(p_for), _correct_smallest(p_against)


def _combine_any(p_for: Sequence[float], p_against: Sequence[float]) -> PValues:
    """At least one statement holds: the reverse of all."""
    p_against_all, p_for_any = _combine_all(p_against, p_for)
    return p_for_any, p_against_all


def _combine_best(p_for: Sequence[float], p_against: Sequence[float]) -> PValues:
    """As all, but corrected, since the best variant was picked from several."""
    corrected = CORRECTION.correct(p_for, family=len(p_for))
    return float(corrected.max()), _correct_smallest(p_against)


def _correct_smallest(p_values: Sequence[float]) -> float:
    return float(CORRECTION.correct(p_values, family=len(p_values)).min())


def list_variants(claim: Claim, variants: Sequence[str]) -> frozenset[str]:
    """The variants whose errors a claim depends on, given all variants."""
    kind = CLAIM_KINDS[_find_key(claim, CLAIM_KINDS)]
    statements = kind.list_statements(claim, variants)
    return frozenset(name for statement in statements for name in statement.pair)


def _list_own(claim: Claim, _variants: Sequence[str]) -> Sequence[Statement]:
    return [claim.statement] if claim.statement else []


def _list_comparisons(claim: Claim, variants: Sequence[str]) -> Sequence[Statement]:
    """Compares every variant that is called the best with every other one."""
    others = [name for name in variants if name not in claim.best]
    return [Statement(better=name, than=other) for name in claim.best for other in others]


def _choose_word(p: float, pair: PValues, level: float) -> Word:
    if p >= level:
        return "undecided"
    p_for, p_against = pair
    return "supported" if p_for < p_against else "contradicted"


STATEMENT_KINDS: Mapping[str, StatementKind] = {
    "better": StatementKind(phrase="{} better than {}", test=_test_better),
    "equivalent": StatementKind(phrase="{} equivalent to {}", test=_test_equivalent),
}
"""Kinds of statement, by the field of `Statement` that says so."""

CLAIM_KINDS: Mapping[str, ClaimKind] = {
    "better": ClaimKind(list_statements=_list_own, combine=_combine_all),
    "equivalent": ClaimKind(list_statements=_list_own, combine=_combine_all),
    "for_every": ClaimKind(list_statements=lambda claim, _: claim.for_every, combine=_combine_all),
    "at_least_one": ClaimKind(
        list_statements=lambda claim, _: claim.at_least_one, combine=_combine_any
    ),
    "best": ClaimKind(list_statements=_list_comparisons, combine=_combine_best),
}
"""Kinds of claim, by the field of `Claim` that says so."""
