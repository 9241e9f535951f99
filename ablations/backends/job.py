"""Input and output of a backend: the trials to run, how to run them, and the events it reports."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ablations.choices import BackendName
from ablations.errors import InputError, MachineError
from ablations.plans import TrialSpec
from ablations.trial.environment import Commit
from ablations.trial.records import Environment, EpochRecord
from ablations.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Which backend runs trials, and with which resources."""

    name: BackendName = "ray"
    """Name of the backend."""

    address: str | None = None
    """Address of a Ray cluster; None for that in RAY_ADDRESS, or to start Ray on this machine."""

    gpus_per_trial: float | None = None
    """Number of GPUs per trial, possibly a fraction; None for one, or one for each replica, if
    available. A trial of several replicas takes none or one for each."""

    packs_gpus: bool = False
    """Whether a run chooses `gpus_per_trial` itself, so that as many trials run together on a GPU
    as fit into its memory."""

    retries: int = 1
    """How often a trial that raised is tried again."""

    trial_hours: float | None = None
    """Most hours that an attempt at a trial may take; None for a multiple of its estimate."""

    loader_workers: int = 0
    """Processes per replica that decode a folder of images; 0 decodes in the replica's own one."""

    def __post_init__(self) -> None:
        if self.address is not None and self.name != "ray":
            raise InputError(f"--address needs --backend ray, got {self.name}. Omit one of them.")

    @property
    def cluster(self) -> str | None:
        """Address of the Ray cluster that trains; None for this machine."""
        return self.address or os.environ.get("RAY_ADDRESS") or None

    def choose_gpus(self, replicas: int, *, available: float, where: str) -> float:
        """Number of GPUs for each trial.

        Args:
            replicas: Replicas of the trial.
            available: GPUs that a trial can have.
            where: What has them, for messages.

        Raises:
            MachineError: If they do not suffice, or cannot be divided among the replicas.
        """
        asked = self.gpus_per_trial
        if asked is None:
            asked = float(replicas) if replicas > 1 and available else min(available, 1.0)
            if asked > available:
                raise MachineError(
                    f"a trial of {replicas} replicas needs as many GPUs, got {available:g}{where}. "
                    "Pass --gpus-per-trial 0 to train on processors."
                )
        if asked > available:
            raise MachineError(
                f"--gpus-per-trial must be at most {available:g}{where}, got {asked:g}. "
                "Omit it to use what is available."
            )
        if asked not in (0, replicas) and replicas > 1:
            raise MachineError(
                f"--gpus-per-trial must be 0 or {replicas} for trials of {replicas} replicas, got "
                f"{asked:g}. Omit it to give each replica one if available."
            )
        return asked


@dataclass(frozen=True, kw_only=True)
class Job:
    """Trials to run, and everything a backend needs to run them."""

    specs: tuple[TrialSpec, ...]
    """The trials, in the order in which to start them."""

    workspace: Workspace
    """Where datasets, checkpoints and claims are, as absolute paths; every worker and the driver
    must be able to access it."""

    backend: Backend
    """What runs the trials."""

    commit: Commit
    """Commit of the code."""

    import_paths: tuple[str, ...] = ()
    """Folders that workers add to `sys.path` to find the user's own modules."""

    limits: Mapping[str, float] = field(default_factory=dict)
    """Seconds that an attempt at a trial may take, by key; others have no limit."""

    @property
    def replicas(self) -> int:
        """Processes of each trial; all trials of a job are of one recipe."""
        return max(spec.recipe.replicas for spec in self.specs)

    def find_limit(self, key: str) -> float:
        """Seconds that an attempt at a trial may take; infinity if there is no limit."""
        return self.limits.get(key, math.inf)


@dataclass(frozen=True, kw_only=True)
class TrialStarted:
    """A worker has started a trial; reported again for each retry."""

    key: str
    """The trial's key."""


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """A trial has finished an epoch; epochs may be repeated after a retry or a restart."""

    key: str
    """The trial's key."""

    record: EpochRecord
    """Measurements of the epoch."""

    environment: Environment
    """Where the epoch ran."""


@dataclass(frozen=True, kw_only=True)
class TrialFailed:
    """A trial raised on its last attempt, did not fit into memory, or took too long."""

    key: str
    """The trial's key."""

    reason: str
    """Last line of the error."""

    details: str
    """Stack trace."""


@dataclass(frozen=True, kw_only=True)
class TrialTaken:
    """A trial was not run, since another run trains it or has ended it."""

    key: str
    """The trial's key."""


Event = TrialStarted | EpochDone | TrialFailed | TrialTaken
Observer = Callable[[Event], None]
"""Called by the backend in the driver's process, one event at a time."""
