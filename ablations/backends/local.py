"""The backend `local`: runs trials one after the other in this process."""

import traceback
from collections.abc import Iterator

import torch

from ablations.backends.claims import claiming
from ablations.backends.job import (
    EpochDone,
    Event,
    Job,
    Observer,
    TrialFailed,
    TrialStarted,
    TrialTaken,
)
from ablations.plans import TrialSpec
from ablations.trial.environment import describe_environment
from ablations.trial.run import run_trial
from ablations.user_code import describe_error


def run_locally(job: Job, observe: Observer) -> None:
    """Runs every trial of the job; one that raises is reported, and the others continue.

    Trials use the GPU if there is one, or one for each replica, unless the job asks for none.
    """
    use_gpu = torch.cuda.is_available() and job.backend.gpus_per_trial != 0
    device = torch.device("cuda" if use_gpu else "cpu")
    for spec in job.specs:
        with claiming(spec.key, job.workspace) as is_ours:
            events = _run_one(job, spec, device) if is_ours else [TrialTaken(key=spec.key)]
            for event in events:
                observe(event)  # an error of the observer is none of the trial: it ends the run


def _run_one(job: Job, spec: TrialSpec, device: torch.device) -> Iterator[Event]:
    for attempt in range(job.backend.retries + 1):
        yield TrialStarted(key=spec.key)
        try:
            environment = describe_environment(device, commit=job.commit)
            records = run_trial(
                spec,
                cache_dir=job.workspace.cache_dir,
                checkpoint=job.workspace.checkpoint_dir / f"{spec.key}.pt",
                device=device,
                loader_workers=job.backend.loader_workers,
            )
            for record in records:
                yield EpochDone(key=spec.key, record=record, environment=environment)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the other trials continue
            reason, details = describe_error(error), traceback.format_exc()
            if attempt == job.backend.retries:
                yield TrialFailed(key=spec.key, reason=reason, details=details)
