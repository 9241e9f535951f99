"""Backends run the trials of a plan: in this process, or concurrently with Ray Tune."""

from ablations.backends.claims import claim_trial
from ablations.backends.job import (
    Backend,
    EpochDone,
    Event,
    Job,
    Observer,
    TrialFailed,
    TrialStarted,
    TrialTaken,
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
    "TrialTaken",
    "check_gpus",
    "claim_trial",
    "is_concurrent",
    "run_job",
]
