"""Progress of a run: bars in a terminal or a notebook, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ablations.backends import EpochDone, Event, Observer, TrialFailed, TrialStarted, TrialTaken
from ablations.escapes import escape_controls
from ablations.formatting import format_duration
from ablations.plans import PlannedTrial
from ablations.trial import EpochRecord

SPEED_SECONDS = 3600
"""Time over which the speed of training is averaged for the time left."""


@contextmanager
def show_progress(
    trials: Sequence[PlannedTrial],
    *,
    console: Console,
    get_time: Callable[[], float] = time.monotonic,
) -> Iterator[Observer]:
    """Shows what is done, running and failed, and the time left.

    Args:
        trials: The trials that will run.
        console: Where to show it.
        get_time: The clock, in seconds.

    Yields:
        What takes the events of the backend.
    """
    if not trials:
        console.print("nothing to train")
    elif not console.is_interactive:
        console.print(f"{len(trials)} trial{'s' if len(trials) > 1 else ''} to run")
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[latest]}", markup=False),
        console=console,
        transient=True,
        disable=not (trials and console.is_interactive),
        speed_estimate_period=SPEED_SECONDS,
        get_time=get_time,
    )
    with bars:
        yield _RunProgress(trials, bars).observe


class _RunProgress:
    """Keeps one bar for all trials, and one for each trial that is running."""

    def __init__(self, trials: Sequence[PlannedTrial], bars: Progress) -> None:
        self._trials = {trial.spec.key: trial for trial in trials}
        self._bars = bars
        self._done = dict.fromkeys(self._trials, 0)
        self._ended: set[str] = set()
        self._failed = 0
        self._total = sum(trial.spec.recipe.epochs for trial in trials)
        self._completed = 0
        self._all = bars.add_task("", total=0, latest="")
        self._running = {
            key: bars.add_task(
                _name(trial), total=trial.spec.recipe.epochs, latest="", visible=False
            )
            for key, trial in self._trials.items()
        }
        self._update_all()

    def observe(self, event: Event) -> None:
        """Takes an event; epochs that are reported again after a retry do not count twice."""
        if isinstance(event, TrialStarted):
            self._bars.update(self._running[event.key], visible=event.key not in self._ended)
        elif isinstance(event, EpochDone):
            record = event.record
            before = self._done[event.key]
            self._done[event.key] = max(before, record.epoch + 1)
            self._completed += self._done[event.key] - before
            self._bars.update(
                self._running[event.key],
                completed=self._done[event.key],
                latest=f"error {record.top1_error:.2f} %, loss {record.train_loss:.3f}",
            )
            if record.is_last:
                self._end(event.key, _describe(record))
        elif isinstance(event, TrialFailed):
            self._failed += 1
            self._end(event.key, f"failed: {event.reason}")
        elif isinstance(event, TrialTaken):
            self._end(event.key, "another run trains it")
        self._update_all()

    def _end(self, key: str, result: str) -> None:
        if key in self._ended:
            return
        self._ended.add(key)
        self._total -= self._trials[key].spec.recipe.epochs - self._done[key]
        self._bars.update(self._running[key], visible=False)
        self._update_all()
        line = (
            f"[{len(self._ended)}/{len(self._trials)}] {_name(self._trials[key])}: {result}; "
            f"{self._describe_time_left()}"
        )
        self._bars.console.print(
            escape_controls(line), markup=False, highlight=False, emoji=False, soft_wrap=True
        )

    def _update_all(self) -> None:
        """The bar of all trials: epochs of those that have ended, and of those still to come."""
        failed = f", {self._failed} failed" if self._failed else ""
        finished = len(self._ended) - self._failed
        self._bars.update(
            self._all,
            total=self._total,
            completed=self._completed,
            description=f"{finished} of {len(self._trials)} trials done{failed}",
        )

    def _describe_time_left(self) -> str:
        if len(self._ended) == len(self._trials):
            return "nothing left"
        [task] = (task for task in self._bars.tasks if task.id == self._all)
        if task.time_remaining is None:
            return "time left unknown"
        return f"about {format_duration(task.time_remaining)} left"


def _name(trial: PlannedTrial) -> str:
    return f"{trial.variant.name}, seed {trial.spec.seed}"


def _describe(record: EpochRecord) -> str:
    if record.diverged:
        return f"diverged in epoch {record.epoch + 1}"
    return f"error {record.top1_error:.2f} %"
