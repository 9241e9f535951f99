"""What a benchmark measures, and how: alternating rounds, medians, ratios with their spread."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

ROUNDS = 7
"""Rounds of every measurement, unless a suite needs more."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One row of a benchmark's table: our values, a peer's in the same rounds, and the goal."""

    name: str
    """What was measured, for example `SKConv 128@56, forward and backward`."""

    unit: str
    """Unit of the values: `s`, `MB`, `images/s`."""

    values: tuple[float, ...]
    """Our values, one per round."""

    peer: str | None = None
    """What we compare ourselves with; None if the value itself is the result."""

    peer_values: tuple[float, ...] = ()
    """The peer's values, one per round."""

    better: Literal["lower", "higher"] = "lower"
    """Which values are better."""

    goal: float | None = None
    """With a peer, the least ratio; without, the worst value that is accepted."""

    note: str = ""
    """Settings that a reader must know, for example the peer's better layout."""

    @property
    def results(self) -> tuple[float, ...]:
        """With a peer, how many times better we are in every round; without, the values."""
        if self.peer is None:
            return self.values
        pairs = zip(self.values, self.peer_values, strict=True)
        if self.better == "lower":
            return tuple(theirs / ours for ours, theirs in pairs)
        return tuple(ours / theirs for ours, theirs in pairs)

    @property
    def result(self) -> float:
        """Median of the results."""
        return statistics.median(self.results)

    @property
    def is_met(self) -> bool | None:
        """Whether the median reaches the goal; None without a goal."""
        if self.goal is None:
            return None
        if self.peer is None and self.better == "lower":
            return self.result <= self.goal
        return self.result >= self.goal


def time_alternately(
    tasks: Mapping[str, Callable[[], object]], *, rounds: int = ROUNDS, warm_up: int = 1
) -> dict[str, tuple[float, ...]]:
    """Seconds of each task in every round; tasks alternate, so that drift hits all of them.

    Each round starts with another task, and each task runs `warm_up` times before the first.
    """
    for task in tasks.values():
        for _ in range(warm_up):
            task()
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    names = list(tasks)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            tasks[name]()
            seconds[name].append(time.perf_counter() - started)
    return {name: tuple(values) for name, values in seconds.items()}


def take_best(peers: Mapping[str, Sequence[float]]) -> tuple[str, tuple[float, ...]]:
    """The peer with the lowest median, and its values: we compare with a peer at its best."""
    name = min(peers, key=lambda peer: statistics.median(peers[peer]))
    return name, tuple(peers[name])


def average(
    name: str, measurements: Iterable[Measurement], *, goal: float | None = None
) -> Measurement:
    """The geometric mean of several measurements, round by round."""
    rows = list(measurements)

    def combine(columns: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
        return tuple(
            math.exp(statistics.fmean(map(math.log, column)))
            for column in zip(*columns, strict=True)
        )

    return Measurement(
        name=name,
        unit=rows[0].unit,
        values=combine(row.values for row in rows),
        peer=rows[0].peer,
        peer_values=combine(row.peer_values for row in rows) if rows[0].peer else (),
        better=rows[0].better,
        goal=goal,
        note="geometric mean",
    )
