"""Sequential looks: after each, what is decided stops, and only the rest gets further seeds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special  # without scipy.stats, as in differences.py

from ablations.config import Claim
from ablations.statistics.claims import Judgement, judge_claims, list_variants
from ablations.statistics.differences import SIGNIFICANCE, Difference, compare_with_baseline
from ablations.statistics.verdicts import Verdict, decide

NODES = 64
"""Fewest points at which the distribution of a statistic is evaluated."""

NODES_PER_SPREAD = 13
"""Points per standard deviation of the narrowest step between looks; more give the same digits."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a table asks: which rows and claims are tested, and at which looks."""

    looks: tuple[int, ...]
    """Numbers of seeds in rising order."""

    baseline: str
    """The variant that the others are compared with."""

    variants: tuple[str, ...]
    """All variants that the experiment declares."""

    margin: float
    """Points of error below which a difference does not matter."""

    claims: tuple[Claim, ...] = ()
    """Statements of papers."""

    scope: str = ""
    """What the verdicts on claims apply to; n is added to it."""

    skipped: frozenset[str] = frozenset()
    """Variants that get no trials in this run, such as those left out on the command line."""

    @property
    def level(self) -> float:
        """Level of each test at each look."""
        return find_level(self.looks)

    @property
    def family(self) -> int:
        """Number of rows without the baseline."""
        return len(self.variants) - 1


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What is known of the trials; each table has one row per seed and one column per variant."""

    errors: pd.DataFrame
    """Top-1 errors (%), NaN where a trial is not finished."""

    broken: pd.DataFrame
    """Whether a trial failed or diverged."""

    pending: pd.DataFrame
    """Whether a trial may still be run."""

    def select(self, seeds: Mapping[str, int]) -> "Sample":
        """The first seeds of each variant; whatever else is known does not count."""
        return Sample(
            errors=select_seeds(self.errors, seeds, otherwise=np.nan),
            broken=select_seeds(self.broken, seeds, otherwise=False),
            pending=select_seeds(self.pending, seeds, otherwise=False),
        )

    def list_broken(self) -> frozenset[str]:
        """Variants with a failed or diverged trial."""
        is_broken = self.broken.any(axis="index")
        return frozenset(str(name) for name in is_broken.index[is_broken])


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at a table: what it says of the rows and claims that were open until then."""

    n: int
    """Number of seeds."""

    family: int
    """Number of rows that no earlier look has declared better or worse."""

    differences: Mapping[str, Difference]
    """Differences from the baseline of the open rows, as far as they are known."""

    verdicts: Mapping[str, Verdict]
    """Verdicts on the open rows, as far as there are any."""

    claims: tuple[Judgement, ...]
    """Verdicts on the open claims."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """The looks that were taken at a table, and what the next one needs."""

    question: Question
    """What the table asks."""

    looks: tuple[Look, ...]
    """The looks in order; at least one. Only the last one may lack trials."""

    seeds: Mapping[str, int]
    """Number of seeds of each variant that count at the last look."""

    needed: Mapping[str, int]
    """Number of seeds of each variant that the next look needs; empty if there is none."""

    @property
    def n(self) -> int:
        """Number of seeds at the last look."""
        return self.looks[-1].n

    @cached_property
    def differences(self) -> dict[str, Difference]:
        """The difference of each row at the last look at which it was open."""
        return {name: d for look in self.looks for name, d in look.differences.items()}

    @cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdict on each row at the last look at which it was open."""
        return {name: verdict for look in self.looks for name, verdict in look.verdicts.items()}

    @cached_property
    def claims(self) -> tuple[Judgement, ...]:
        """The verdict on each claim at the last look at which it was open, in the file's order."""
        judged = {claim.name: claim for look in self.looks for claim in look.claims}
        return tuple(judged[claim.name] for claim in self.question.claims)

    @cached_property
    def shown_seeds(self) -> dict[str, int]:
        """Number of seeds that a row's numbers come from: those of the look that decided it."""
        return {**self.seeds, **self.decided_at}

    @property
    def decided_at(self) -> dict[str, int]:
        """Number of seeds at which each decided row was decided."""
        return {
            name: look.n
            for look in self.looks
            for name, verdict in look.verdicts.items()
            if verdict.word != "undecided"
        }

    @property
    def open_rows(self) -> tuple[str, ...]:
        """Rows without a verdict that ends their training."""
        rows = [name for name in self.question.variants if name != self.question.baseline]
        return tuple(name for name in rows if _is_open(self.verdicts.get(name)))

    @property
    def open_claims(self) -> tuple[Claim, ...]:
        """Claims that are undecided."""
        words = {claim.name: claim.word for claim in self.claims}
        return tuple(c for c in self.question.claims if words[c.name] == "undecided")


@cache
def find_level(looks: tuple[int, ...], *, significance: float = SIGNIFICANCE) -> float:
    """Finds the level at which each of several looks tests, so that all keep one level (rule 16).

    This is Pocock's boundary for looks at any numbers of seeds: the statistics of the looks are
    jointly normal, and those of n and m > n seeds have the correlation sqrt(n / m).

    >>> round(find_level((3, 5, 8, 12, 20)), 4)
    0.0146
    """
    if len(looks) == 1:
        return significance
    low, high = significance / len(looks), significance  # Bonferroni's level, and a single look's
    while high - low > 1e-9:
        middle = (low + high) / 2
        exceeds = _measure_crossing(looks, middle) > significance
        low, high = (low, middle) if exceeds else (middle, high)
    return low


def _measure_crossing(looks: tuple[int, ...], level: float) -> float:
    """Probability that any look rejects a true hypothesis.

    The density of the statistic, without the tables that have been rejected, is carried from look
    to look by Gauss-Legendre quadrature (Armitage, McPherson and Rowe, JRSS A 1969).
    """
    bound = -special.ndtri(level / 2)
    narrowest = min(np.sqrt(1 - before / after) for before, after in pairwise(looks))
    nodes, weights = _find_nodes(max(NODES, round(NODES_PER_SPREAD / narrowest)))
    z, weights = bound * nodes, bound * weights
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    for before, after in pairwise(looks):
        correlation = np.sqrt(before / after)
        spread = np.sqrt(1 - before / after)
        distance = (z[:, None] - correlation * z) / spread
        kernel = np.exp(-(distance**2) / 2) / (spread * np.sqrt(2 * np.pi))
        density = kernel @ (weights * density)
    return float(1 - weights @ density)


@cache
def _find_nodes(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights of Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return nodes, weights


def select_seeds(
    table: pd.DataFrame, seeds: Mapping[str, int], *, otherwise: float | bool
) -> pd.DataFrame:
    """Replaces all but the first seeds of each variant."""
    order = np.arange(len(table))[:, None]
    return table.where(order < np.array([seeds[str(name)] for name in table]), otherwise)


def follow_looks(question: Question, sample: Sample) -> Path:
    """Takes every look whose trials have ended, and finds what the next one needs (rules 17 to 20).

    The first look is taken in any case. The result depends only on the trials that the looks ask
    for, whatever else is known, so taking the same looks again gives the same verdicts.

    Args:
        question: What the table asks.
        sample: What is known of the trials.
    """
    seeds: dict[str, int] = dict.fromkeys(question.variants, 0)
    active: Collection[str] = question.variants
    path: Path | None = None
    for n in question.looks:
        needed = {name: n if name in active else seeds[name] for name in seeds}
        known = sample.select(needed)
        if path is None and known.pending.to_numpy().any():
            return _extend(path, question, known, n=n, seeds=needed, needed=needed)
        if path is not None and known.pending.to_numpy().any():
            return replace(path, needed=needed)
        seeds = needed
        path = _extend(path, question, known, n=n, seeds=seeds, needed={})
        active = list_active(path)
        if not active:
            break
    assert path is not None  # a question has at least one look
    return path


def list_active(path: Path) -> frozenset[str]:
    """Variants that get further seeds (rule 19): open rows, what open claims need, the baseline."""
    question = path.question
    claimed = [list_variants(claim, question.variants) for claim in path.open_claims]
    needed = frozenset(path.open_rows).union(*claimed) - question.skipped
    return needed | {question.baseline} if needed - {question.baseline} else frozenset()


def _extend(
    path: Path | None,
    question: Question,
    known: Sample,
    *,
    n: int,
    seeds: Mapping[str, int],
    needed: Mapping[str, int],
) -> Path:
    """The path with one more look."""
    look = _take_look(question, known, path, n)
    looks = (*path.looks, look) if path else (look,)
    return Path(question=question, looks=looks, seeds=seeds, needed=needed)


def _take_look(question: Question, known: Sample, earlier: Path | None, n: int) -> Look:
    rows = earlier.open_rows if earlier else question.variants
    claims = earlier.open_claims if earlier else question.claims
    verdicts = earlier.verdicts.values() if earlier else ()
    declared = sum(verdict.word in ("better", "worse") for verdict in verdicts)
    broken = known.list_broken()
    errors = known.errors.dropna(axis="columns", how="all")
    family, level = question.family - declared, question.level
    differences = (
        compare_with_baseline(errors, question.baseline, family=family, rows=rows, level=level)
        if question.baseline in errors
        else {}
    )
    judged = {
        name: decide(
            difference,
            margin=question.margin,
            family=family,
            is_row_broken=name in broken,
            is_baseline_broken=question.baseline in broken,
        )
        for name, difference in differences.items()
    }
    return Look(
        n=n,
        family=family,
        differences=differences,
        verdicts={name: verdict for name, verdict in judged.items() if verdict is not None},
        claims=judge_claims(
            claims,
            errors,
            baseline=question.baseline,
            margin=question.margin,
            broken=broken,
            variants=question.variants,
            scope=question.scope,
            level=level,
        ),
    )


def _is_open(verdict: Verdict | None) -> bool:
    return verdict is None or verdict.word == "undecided"
