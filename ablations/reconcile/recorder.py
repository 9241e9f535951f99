"""Events of a backend -> records in the ledger."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from ablations.backends import EpochDone, Event, TrialFailed, TrialTaken
from ablations.escapes import escape_controls, shorten
from ablations.ledger import Failure, Ledger
from ablations.plans import PlannedTrial
from ablations.trial import EpochRecord, TrialRecord

logger = logging.getLogger(__name__)

LONGEST_REASON = 1000
"""Most characters of the reason of a failure that are kept."""

LONGEST_DETAILS = 100_000
"""Most characters of a stack trace that are kept."""


class Recorder:
    """Collects the epochs of running trials, and adds each trial to the ledger when it ends.

    Args:
        trials: The trials that run.
        ledger: Where they are kept.
        on_end: Called with each record that was added.
    """

    def __init__(
        self,
        trials: Iterable[PlannedTrial],
        ledger: Ledger,
        *,
        on_end: Callable[[TrialRecord], None],
    ) -> None:
        self._specs = {trial.spec.key: trial.spec for trial in trials}
        self._epochs: dict[str, dict[int, EpochRecord]] = {key: {} for key in self._specs}
        self._ended: set[str] = set()
        self.taken: set[str] = set()
        """Trials that other runs train or have ended."""
        self._ledger = ledger
        self._on_end = on_end

    @property
    def ended(self) -> int:
        """Number of trials that were added to the ledger."""
        return len(self._ended)

    def observe(self, event: Event) -> None:
        """Takes an event of the backend.

        Raises:
            MachineError: If a record cannot be written.
        """
        if event.key in self._ended:
            return  # a worker that died after its last epoch reports it again
        if isinstance(event, TrialFailed):
            self._ledger.add_failure(_describe_failure(event))
        elif isinstance(event, TrialTaken):
            self.taken.add(event.key)
        elif isinstance(event, EpochDone):
            self._epochs[event.key][event.record.epoch] = event.record
            if event.record.is_last:
                self._end(event)

    def _end(self, event: EpochDone) -> None:
        epochs = self._epochs.pop(event.key)
        record = TrialRecord(
            key=event.key,
            facts=dict(self._specs[event.key].facts),
            epochs=tuple(epochs[number] for number in sorted(epochs)),
            environment=event.environment,
            finished_at=time.time(),
        )
        self._ledger.add(record)
        self._ended.add(event.key)
        self._on_end(record)


def _describe_failure(event: TrialFailed) -> Failure:
    """The failure as text that any reader can show: a user's module may raise anything."""
    return Failure(
        key=event.key,
        reason=shorten(escape_controls(" ".join(event.reason.split())), LONGEST_REASON),
        details=shorten(escape_controls(event.details, keep="\n\t"), LONGEST_DETAILS),
    )


def set_aside_damaged(ledger: Ledger, damaged: Mapping[str, str]) -> None:
    """Moves damaged records out of the way, so that their trials can be trained again.

    Args:
        ledger: Where they are.
        damaged: What is wrong with each, by key.
    """
    for key, reason in damaged.items():
        if kept := ledger.set_aside(key):
            logger.warning("trial %s: its record is damaged (%s); kept as %s", key, reason, kept)
