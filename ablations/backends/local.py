"""The backend `local`: runs trials one after the other in this process."""

from collections.abc import Iterator

import torch

from ablations.backends.attempts import (
    TimeLimitError,
    attempt_trial,
    describe_failure,
    limit_epochs,
)
from ablations.backends.claims import claiming
from ablations.backends.job import (
    EpochDone,
    Event,
    Job,
    Observer,
    TrialStarted,
    TrialTaken,
)
from ablations.plans import TrialSpec
from ablations.trial.environment import describe_environment
from ablations.trial.memory import free_memory, is_out_of_memory


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
    retries, has_starved = job.backend.retries, False
    while True:
        yield TrialStarted(key=spec.key)
        try:
            yield from _attempt(job, spec, device)
            return
        except TimeLimitError as error:  # another attempt would only take as long again
            yield describe_failure(spec.key, error)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the other trials continue
            failure, is_starved = describe_failure(spec.key, error), is_out_of_memory(error)
        if has_starved if is_starved else retries == 0:
            yield failure
            return
        has_starved |= is_starved
        retries -= not is_starved
        free_memory()


def _attempt(job: Job, spec: TrialSpec, device: torch.device) -> Iterator[EpochDone]:
    environment = describe_environment(device, commit=job.commit)
    records = limit_epochs(attempt_trial(job, spec, device), job.find_limit(spec.key))
    for record in records:
        yield EpochDone(key=spec.key, record=record, environment=environment)
