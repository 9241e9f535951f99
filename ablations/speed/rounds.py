"""Timing of several tasks in alternating rounds, so that drift of the machine hits all of them."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from ablations.speed.benchmark import Quantity

LEAST_SECONDS = 0.2
"""Minimum duration of a task in a round; a shorter task is repeated."""


def time_alternately(
    tasks: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    least_seconds: float = LEAST_SECONDS,
    wait: Callable[[], object] = lambda: None,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, tuple[float, ...]]:
    """Seconds per call of each task, one value per round.

    Before the first round each task runs to warm up, which also tells how often it has to be called
    in a round. Each round starts with another task.

    Args:
        tasks: The tasks by name.
        rounds: Number of rounds.
        least_seconds: Minimum duration of a task in a round.
        wait: Waits until the device has finished everything that tasks started.
        advance: Called after each task of each round.
    """
    calls = {
        name: _count_calls(task, least_seconds=least_seconds, wait=wait)
        for name, task in tasks.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    names = list(tasks)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(_time(tasks[name], calls=calls[name], wait=wait))
            advance()
    return {name: tuple(values) for name, values in seconds.items()}


def summarise_rounds(values: Sequence[float]) -> Quantity:
    """The median of the values of all rounds, and their range.

    >>> summarise_rounds([3.0, 1.0, 2.0])
    Quantity(median=2.0, least=1.0, greatest=3.0)
    """
    return Quantity(median=statistics.median(values), least=min(values), greatest=max(values))


def _count_calls(
    task: Callable[[], object], *, least_seconds: float, wait: Callable[[], object]
) -> int:
    for _ in range(2):  # the first call of a short task may spend most of its time on warming up
        seconds = _time(task, calls=1, wait=wait)
        if seconds >= least_seconds:
            return 1
    return math.ceil(least_seconds / max(seconds, 1e-6))


def _time(task: Callable[[], object], *, calls: int, wait: Callable[[], object]) -> float:
    """Wall time per call."""
    wait()
    started = time.perf_counter()
    for _ in range(calls):
        task()
    wait()
    return (time.perf_counter() - started) / calls
