"""From a difference to one word, and how many seeds a word would take."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

import numpy as np
from scipy import special  # as in differences.py: without scipy.stats

from ablations.statistics.differences import SIGNIFICANCE, Difference

Word = Literal["better", "worse", "equivalent", "undecided"]

FEWEST_SEEDS = 3
"""With fewer nothing is declared."""

MOST_SEEDS = 100
"""Beyond it, seeds needed are told as `more than 100`."""


@dataclass(frozen=True, kw_only=True)
class SeedsNeeded:
    """How many seeds would decide a row at the spread that was observed; None for more than 100."""

    to_be_sure: int | None
    """Whatever the true difference is, the row would be better, worse or equivalent."""

    if_difference_stays: int | None
    """Should the true difference be the observed one."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the seeds say of a row."""

    word: Word
    """In one word."""

    within_margin: bool = False
    """Whether a row that is better or worse is so by less than the margin."""

    reason: str = ""
    """Why nothing could be declared, if it is not for want of seeds."""

    seeds_needed: SeedsNeeded | None = None
    """Of an undecided row where more seeds would help."""

    @property
    def text(self) -> str:
        """As a table shows it."""
        return f"{self.word}, within the margin" if self.within_margin else self.word


def decide(
    difference: Difference,
    *,
    margin: float,
    family: int,
    is_row_broken: bool = False,
    is_baseline_broken: bool = False,
) -> Verdict | None:
    """One word for a row (rules 4, 6, 7, 8 and 10).

    Args:
        difference: From the baseline, corrected over the family.
        margin: Points of error below which a difference does not matter.
        family: Number of rows, besides the baseline, that the experiment declares.
        is_row_broken: Whether a seed of the row failed or diverged.
        is_baseline_broken: Whether a seed of the baseline did; what is left of it flatters it.

    Returns:
        None for one seed, which has no verdict.
    """
    if difference.n == 1:
        return None
    if not difference.is_testable:
        return Verdict(word="undecided", reason="nothing varies over seeds")
    needed = count_seeds_needed(difference, margin=margin, family=family)
    if difference.n < FEWEST_SEEDS:
        reason = f"n={difference.n}: nothing is declared"
        return Verdict(word="undecided", reason=reason, seeds_needed=needed)
    is_within = abs(difference.mean) + difference.half_width <= margin
    word = _choose_word(difference, is_within=is_within)
    if (is_row_broken and word in ("better", "equivalent")) or (
        is_baseline_broken and word in ("worse", "equivalent")
    ):
        broken = "row" if is_row_broken else "baseline"
        reason = f"a seed of the {broken} failed or diverged, so that it is not called {word}"
        return Verdict(word="undecided", reason=reason)
    if word == "undecided":
        return Verdict(word=word, seeds_needed=needed)
    return Verdict(word=word, within_margin=is_within and word != "equivalent")


def count_seeds_needed(difference: Difference, *, margin: float, family: int) -> SeedsNeeded:
    """Seeds at which an undecided row would be decided, at its spread (rule 8).

    Args:
        difference: Of a row with a spread.
        margin: Points of error below which a difference does not matter.
        family: Number of rows, besides the baseline, that the experiment declares.
    """
    seeds = np.arange(max(FEWEST_SEEDS, difference.n + 1), MOST_SEEDS + 1)
    errors = np.sqrt(difference.variance / seeds)
    df = family * (seeds - 1)
    interval = special.stdtrit(df, 1 - SIGNIFICANCE / 2) * errors
    threshold = special.stdtrit(df, 1 - SIGNIFICANCE / 2 / family) * errors
    distance = abs(difference.mean)
    stays = (threshold < distance) | (interval + distance <= margin)
    return SeedsNeeded(
        to_be_sure=next(iter(seeds[interval + threshold <= margin].tolist()), None),
        if_difference_stays=next(iter(seeds[stays].tolist()), None),
    )


def is_exploratory(seeds: Sequence[int], looks: Sequence[Sequence[int]]) -> bool:
    """Whether a table comes of too many looks for its error rate to hold (rule 9).

    One extension of the seeds keeps the rate; testing after every added seed does not.

    Args:
        seeds: The table's.
        looks: The seeds of all looks, in order, this one's among them or not. The same seeds
            again, and too few seeds to declare anything, are no further look.

    >>> is_exploratory([0, 1, 2, 3, 4], looks=[[0, 1, 2]])
    False
    >>> is_exploratory([0, 1, 2, 3, 4], looks=[[0, 1, 2], [0, 1, 2, 3]])
    True
    """
    this = frozenset(seeds)
    if len(this) < FEWEST_SEEDS:
        return False
    counted = dict.fromkeys(frozenset(look) for look in looks if len(set(look)) >= FEWEST_SEEDS)
    earlier = list(takewhile(lambda look: look != this, counted))
    return len(earlier) > 1 or any(not look < this for look in earlier)


def _choose_word(difference: Difference, *, is_within: bool) -> Word:
    if difference.p_holm < SIGNIFICANCE:
        return "better" if difference.mean < 0 else "worse"
    return "equivalent" if is_within else "undecided"
