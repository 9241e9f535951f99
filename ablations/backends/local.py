"""Runs trials one after the other in this process, without Ray."""

import traceback

import torch

from ablations.backends.events import EpochDone, Job, Observer, TrialFailed, TrialStarted
from ablations.plan import TrialSpec
from ablations.trial.environment import describe_environment
from ablations.trial.run import run_trial


def run_locally(job: Job, observe: Observer) -> None:
    """Runs every trial of the job; one that raises is reported, and the others go on.

    It takes the GPU unless none is asked for or there.
    """
    use_gpu = torch.cuda.is_available() and job.gpus_per_trial != 0
    device = torch.device("cuda" if use_gpu else "cpu")
    for spec in job.specs:
        observe(TrialStarted(key=spec.key))
        for attempt in range(job.retries + 1):
            try:
                _run_one(job, spec, observe, device=device)
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, the other trials go on
                if attempt == job.retries:
                    observe(
                        TrialFailed(
                            key=spec.key,
                            reason=f"{type(error).__name__}: {error}",
                            details=traceback.format_exc(),
                        )
                    )


def _run_one(job: Job, spec: TrialSpec, observe: Observer, *, device: torch.device) -> None:
    environment = describe_environment(device, commit=job.commit)
    records = run_trial(
        spec,
        cache_dir=job.cache_dir,
        checkpoint=job.checkpoint_dir / f"{spec.key}.pt",
        device=device,
        loader_workers=job.loader_workers,
    )
    for record in records:
        observe(EpochDone(key=spec.key, record=record, environment=environment))
