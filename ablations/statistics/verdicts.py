"""Verdicts on rows, and the number of seeds that a verdict needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, get_args

import numpy as np
from scipy import special  # without scipy.stats, as in differences.py

from ablations.config import FEWEST_SEEDS
from ablations.statistics.corrections import CORRECTION
from ablations.statistics.differences import Difference

Word = Literal["better", "worse", "equivalent", "undecided"]

MOST_SEEDS = 100
"""Numbers of seeds above it are reported as `more than 100`."""


@dataclass(frozen=True, kw_only=True)
class SeedsNeeded:
    """Number of seeds that would decide a row at the observed spread; None for more than 100."""

    guaranteed: int | None
    """Seeds that decide the row whatever its true difference is."""

    if_difference_holds: int | None
    """Seeds that decide the row if its true difference is the observed one."""

    def __str__(self) -> str:
        """In words, as notes print it."""
        return (
            f"{_format_count(self.guaranteed)} seeds guarantee a verdict; "
            f"{_format_count(self.if_difference_holds)} if the observed difference holds"
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The conclusion about a row."""

    word: Word
    """The conclusion."""

    within_margin: bool = False
    """Whether a row that is better or worse differs by less than the margin."""

    reason: str = ""
    """Why the row is undecided, unless more seeds alone would decide it."""

    seeds_needed: SeedsNeeded | None = None
    """For undecided rows that more seeds would decide."""

    @property
    def text(self) -> str:
        """The verdict as tables print it."""
        return f"{self.word}, within the margin" if self.within_margin else self.word


def decide(
    difference: Difference,
    *,
    margin: float,
    family: int,
    is_row_broken: bool = False,
    is_baseline_broken: bool = False,
) -> Verdict | None:
    """Decides whether a row is better, worse or equivalent (rules 4, 6, 7, 8 and 10).

    Args:
        difference: From the baseline, corrected over the family.
        margin: Points of error below which a difference does not matter.
        family: Number of rows that the experiment declares, without the baseline.
        is_row_broken: Whether a seed of the row failed or diverged.
        is_baseline_broken: Whether a seed of the baseline failed or diverged.

    Returns:
        None for a single seed, which has no verdict.
    """
    if difference.n == 1:
        return None
    if not difference.is_testable:
        return Verdict(word="undecided", reason="the difference is identical in every seed")
    needed = count_seeds_needed(difference, margin=margin, family=family)
    if difference.n < FEWEST_SEEDS:
        reason = f"n={difference.n}, a verdict needs at least {FEWEST_SEEDS} seeds"
        return Verdict(word="undecided", reason=reason, seeds_needed=needed)
    is_within = abs(difference.mean) + difference.half_width <= margin
    word = _choose_word(difference, is_within=is_within)
    allowed = _list_allowed(is_row_broken=is_row_broken, is_baseline_broken=is_baseline_broken)
    if word not in allowed:
        broken = "row" if is_row_broken else "baseline"
        possible = f"can only be called {' or '.join(allowed)}" if allowed else "gets no verdict"
        reason = f"a seed of the {broken} failed or diverged, so the row {possible}"
        return Verdict(word="undecided", reason=reason)
    if word == "undecided":
        return Verdict(word=word, seeds_needed=needed)
    return Verdict(word=word, within_margin=is_within and word != "equivalent")


def count_seeds_needed(difference: Difference, *, margin: float, family: int) -> SeedsNeeded:
    """Counts the seeds that would decide an undecided row at its spread (rule 8).

    Args:
        difference: From the baseline, of a row that varies over seeds.
        margin: Points of error below which a difference does not matter.
        family: Number of rows that the experiment declares, without the baseline.
    """
    seeds = np.arange(max(FEWEST_SEEDS, difference.n + 1), MOST_SEEDS + 1)
    errors = np.sqrt(difference.variance / seeds)
    # Rows that an earlier look declared get no more seeds, but the seeds they have are in df.
    df = np.maximum(family * (seeds - 1), difference.df + family * (seeds - difference.n))
    interval = special.stdtrit(df, 1 - difference.level / 2) * errors
    level = difference.level * CORRECTION.smallest_share(family)
    threshold = special.stdtrit(df, 1 - level / 2) * errors
    distance = abs(difference.mean)
    holds = (threshold < distance) | (interval + distance <= margin)
    return SeedsNeeded(
        guaranteed=next(iter(seeds[interval + threshold <= margin].tolist()), None),
        if_difference_holds=next(iter(seeds[holds].tolist()), None),
    )


def is_exploratory(
    seeds: Sequence[int], looks: Sequence[Sequence[int]], *, planned: Sequence[int] = ()
) -> bool:
    """Whether a table was looked at too often for its error rate to hold (rules 9 and 21).

    Without planned looks, one extension of the seeds keeps the error rate; testing after every
    added seed does not.

    Args:
        seeds: Seeds of the table.
        looks: Seeds of all looks in order, with or without this one. Looks at the same seeds, and
            at too few seeds for a verdict, do not count.
        planned: Numbers of seeds of the planned looks; fewer than two plan none.

    >>> is_exploratory([0, 1, 2, 3, 4], looks=[[0, 1, 2]])
    False
    >>> is_exploratory([0, 1, 2, 3, 4], looks=[[0, 1, 2], [0, 1, 2, 3]])
    True
    >>> is_exploratory([0, 1, 2, 3, 4], looks=[[0, 1, 2], [0, 1, 2, 3]], planned=[3, 4, 5])
    False
    """
    this = frozenset(seeds)
    if len(this) < FEWEST_SEEDS:
        return False
    counted = dict.fromkeys(frozenset(look) for look in looks if len(set(look)) >= FEWEST_SEEDS)
    if len(planned) > 1:
        agreed = [frozenset(range(n)) for n in planned]
        return this != agreed[-1] or any(look not in agreed for look in counted)
    earlier = list(takewhile(lambda look: look != this, counted))
    return len(earlier) > 1 or any(not look < this for look in earlier)


def _list_allowed(*, is_row_broken: bool, is_baseline_broken: bool) -> tuple[Word, ...]:
    """The verdicts that failed and diverged seeds leave: the other seeds flatter the variant."""
    if not is_row_broken and not is_baseline_broken:
        return get_args(Word)
    worse: tuple[Word, ...] = () if is_baseline_broken else ("worse",)
    return worse if is_row_broken else ("better",)


def _choose_word(difference: Difference, *, is_within: bool) -> Word:
    if difference.p_corrected < difference.level:
        return "better" if difference.mean < 0 else "worse"
    return "equivalent" if is_within else "undecided"


def _format_count(seeds: int | None) -> str:
    return f"more than {MOST_SEEDS}" if seeds is None else str(seeds)
