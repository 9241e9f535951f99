"""Attempts at a trial: how one is run, its time limit, and what is said of one that failed."""

import time
import traceback
from collections.abc import Generator
from contextlib import closing

import torch

from ablations.backends.job import Job, TrialFailed
from ablations.formatting import format_duration
from ablations.plans import TrialSpec
from ablations.trial.memory import is_out_of_memory
from ablations.trial.records import EpochRecord
from ablations.trial.run import run_trial
from ablations.user_code import describe_error, limiting


class TimeLimitError(BaseException):
    """An attempt took too long. No `Exception`: a user's module that catches those still ends."""

    def __init__(self, seconds: float) -> None:
        super().__init__(describe_limit(seconds))


def describe_limit(seconds: float) -> str:
    """Why a trial that exceeded its time limit failed, and what to do about it."""
    return (
        f"exceeded its time limit of {format_duration(seconds)}; a rerun resumes it, and "
        "--trial-hours raises the limit"
    )


def attempt_trial(
    job: Job, spec: TrialSpec, device: torch.device
) -> Generator[EpochRecord, None, None]:
    """Trains a trial of a job from its last checkpoint; yields the records of its epochs.

    The dataset must have been prepared.
    """
    return run_trial(
        spec,
        cache_dir=job.workspace.cache_dir,
        checkpoint=job.workspace.checkpoint_dir / f"{spec.key}.pt",
        device=device,
        loader_workers=job.backend.loader_workers,
    )


def limit_epochs(
    records: Generator[EpochRecord, None, None], seconds: float
) -> Generator[EpochRecord, None, None]:
    """The same records, as long as computing them takes no more than this time altogether.

    Python code is interrupted, if this is the main thread of a Unix process. Native code is not,
    so the limit is also checked after each epoch.

    Raises:
        TimeLimitError: If they take longer.
    """
    left = seconds
    with closing(records):  # at the limit this ends the processes of its replicas
        while left > 0:
            started = time.monotonic()
            with limiting(left, TimeLimitError(seconds)):
                record = next(records, None)
            left -= time.monotonic() - started
            if record is None:
                return
            yield record
            if record.is_last:
                return
        raise TimeLimitError(seconds)


def describe_failure(key: str, error: BaseException) -> TrialFailed:
    """What is said of a trial whose last attempt raised this error."""
    reason = describe_error(error)
    if is_out_of_memory(error):
        reason = f"out of memory, also with no other trial beside it: {reason}"
    details = "".join(traceback.format_exception(error))
    return TrialFailed(key=key, reason=reason, details=details)
