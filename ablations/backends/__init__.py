"""Backends run the trials of a plan: in this process, or concurrently with Ray Tune."""

from ablations.backends.job import (
    Backend,
    EpochDone,
    Event,
    Job,
    Observer,
    TrialFailed,
    TrialStarted,
)
from ablations.backends.registry import check_gpus, is_concurrent, run_job
from ablations.choices import BackendName

__all__ = [
    "Backend",
    "BackendName",
    "EpochDone",
    "Event",
    "Job",
    "Observer",
    "TrialFailed",
    "TrialStarted",
    "check_gpus",
    "is_concurrent",
    "run_job",
]
