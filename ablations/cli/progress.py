"""Shows a run's progress on a terminal as a live table, and elsewhere as plain lines."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ablations.backends import EpochDone, Event, TrialFailed, TrialStarted
from ablations.formatting import format_duration
from ablations.plan import PlannedTrial
from ablations.trial.records import EpochRecord


class Progress:
    """What is done, running and failed, and the time left.

    Args:
        trials: The trials that will run.
        console: Where to show it.
    """

    def __init__(self, trials: Sequence[PlannedTrial], console: Console) -> None:
        self._trials = {trial.spec.key: trial for trial in trials}
        self._console = console
        self._started_keys: list[str] = []
        self._latest: dict[str, EpochRecord] = {}
        self._epochs = 0
        self._failed: set[str] = set()
        self._started = time.monotonic()
        self._live = Live(console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
            self._live.update(self._render())
        else:
            count = len(self._trials)
            self._console.print(f"{count} trial{'s' if count > 1 else ''} to run")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def observe(self, event: Event) -> None:
        """Takes what a backend reports."""
        if isinstance(event, TrialStarted) and event.key not in self._started_keys:
            self._started_keys.append(event.key)
        elif isinstance(event, EpochDone):
            earlier = self._latest.get(event.key)
            self._epochs += earlier is None or earlier.epoch < event.record.epoch
            self._latest[event.key] = event.record
            if event.record.is_last:
                self._announce(event.key, _describe(event.record))
        elif isinstance(event, TrialFailed):
            self._failed.add(event.key)
            self._announce(event.key, f"failed: {event.reason}")
        if self._console.is_terminal:
            self._live.update(self._render())

    def _announce(self, key: str, text: str) -> None:
        label = self._label(key)
        ended = len(self._ended())
        self._console.print(
            f"[{ended}/{len(self._trials)}] {label}: {text}; {self._time_left()}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def _render(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("trial", "variant", "seed", "epoch", "error %", "loss"):
            table.add_column(heading)
        ended = self._ended()
        running = [key for key in self._started_keys if key not in ended]
        for key in running:
            table.add_row(*self._describe_running(key))
        summary = Text(
            f"{len(ended) - len(self._failed)} of {len(self._trials)} trials done, "
            f"{len(running)} running, {len(self._failed)} failed; {self._time_left()}",
            style="bold",
        )
        return Group(summary, table) if running else summary

    def _describe_running(self, key: str) -> list[str]:
        """Cells of a trial that is under way; nothing is known before its first epoch's end."""
        trial, record = self._trials[key], self._latest.get(key)
        measured = ["0", "", ""]
        if record:
            error, loss = f"{record.top1_error:.2f}", f"{record.train_loss:.3f}"
            measured = [str(record.epoch + 1), error, loss]
        epochs, *rest = measured
        of = f"{epochs}/{trial.spec.recipe.epochs}"
        return [key, trial.variant.name, str(trial.spec.seed), of, *rest]

    def _ended(self) -> set[str]:
        return {key for key, record in self._latest.items() if record.is_last} | self._failed

    def _label(self, key: str) -> str:
        trial = self._trials[key]
        return f"{trial.variant.name}, seed {trial.spec.seed}"

    def _time_left(self) -> str:
        """Estimate from the epochs of this run, all taken to cost the same."""
        ended = self._ended()
        left = 0
        for key, trial in self._trials.items():
            if key not in ended:
                record = self._latest.get(key)
                left += trial.spec.recipe.epochs - (record.epoch + 1 if record else 0)
        if not left:
            return "nothing left"
        if not self._epochs:
            return "time left unknown"
        seconds = (time.monotonic() - self._started) * left / self._epochs
        return f"about {format_duration(seconds)} left"


def _describe(record: EpochRecord) -> str:
    if record.diverged:
        return f"diverged in epoch {record.epoch + 1}"
    return f"error {record.top1_error:.2f} %"
