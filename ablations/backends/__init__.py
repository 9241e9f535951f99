"""A plan's trials -> every one of them run, in this process or by Ray Tune."""

from ablations.backends.backends import BackendName, check_gpus, run_job
from ablations.backends.events import EpochDone, Event, Job, Observer, TrialFailed, TrialStarted

__all__ = [
    "BackendName",
    "EpochDone",
    "Event",
    "Job",
    "Observer",
    "TrialFailed",
    "TrialStarted",
    "check_gpus",
    "run_job",
]
