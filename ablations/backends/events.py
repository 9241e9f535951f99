"""What a backend is given, and what it reports: the same for every backend."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ablations.plan import TrialSpec
from ablations.trial.environment import Commit
from ablations.trial.records import Environment, EpochRecord


@dataclass(frozen=True, kw_only=True)
class Job:
    """Trials to run, and where and how."""

    specs: tuple[TrialSpec, ...]
    """The trials, in the order to start them."""

    cache_dir: Path
    """Where the datasets' prepared arrays are; every worker must see it."""

    checkpoint_dir: Path
    """Where workers write their checkpoints; every worker and the driver must see it."""

    gpus_per_trial: float | None
    """Share of a GPU for each trial; None for one where there is any, else none."""

    retries: int
    """How often a trial that raised is tried again."""

    commit: Commit
    """The code's commit."""

    import_paths: tuple[str, ...] = ()
    """Folders in which workers look for modules of the user's own."""

    loader_workers: int = 0
    """Processes that decode a folder of images, for each trial; 0 for the trial's own."""


@dataclass(frozen=True, kw_only=True)
class TrialStarted:
    """A worker takes a trial; after a failed attempt it is told again."""

    key: str
    """The trial."""


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """A trial has an epoch's record; after a retry or a restart earlier ones come again."""

    key: str
    """The trial."""

    record: EpochRecord
    """What the epoch measured."""

    environment: Environment
    """Where it ran."""


@dataclass(frozen=True, kw_only=True)
class TrialFailed:
    """A trial raised on its last attempt."""

    key: str
    """The trial."""

    reason: str
    """The error's last line."""

    details: str
    """The stack trace."""


Event = TrialStarted | EpochDone | TrialFailed
Observer = Callable[[Event], None]
"""Called by the backend in the driver's process, one event at a time."""
