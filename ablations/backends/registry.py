"""The registry of backends: everything that differs between them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ablations.backends.job import Backend, Job, Observer
from ablations.choices import BackendName


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One backend."""

    is_concurrent: bool
    """Whether trials run at the same time."""

    count_gpus: Callable[[Backend, int], float]
    """Returns the largest number of GPUs that a trial can have, given the number of its replicas;
    infinity if not known yet."""

    run: Callable[[Job, Observer], None]
    """Runs a job; it imports the backend, which is slow, when it is called."""


def check_gpus(backend: Backend, *, replicas: int = 1) -> None:
    """Checks the number of GPUs per trial before anything is started or written.

    The GPUs of a remote cluster are checked once Ray has connected to it.

    Raises:
        MachineError: If the machine has fewer GPUs than a trial needs.
    """
    if backend.gpus_per_trial or (replicas > 1 and backend.gpus_per_trial is None):
        available = _BACKENDS[backend.name].count_gpus(backend, replicas)
        where = f" on this machine with the backend {backend.name}"
        backend.choose_gpus(replicas, available=available, where=where)


def is_concurrent(backend: Backend) -> bool:
    """Whether the backend runs several trials at the same time."""
    return _BACKENDS[backend.name].is_concurrent


def run_job(job: Job, observe: Observer) -> None:
    """Runs every trial of the job and reports events to the observer.

    A trial that raises is reported as failed; the others continue.

    Raises:
        MachineError: If the cluster lacks what a trial needs.
        KeyboardInterrupt: If the user stopped the run.
    """
    _BACKENDS[job.backend.name].run(job, observe)


def _count_own_gpus() -> float:
    import torch  # slow to import

    return torch.cuda.device_count()


def _count_local_gpus(_: Backend, replicas: int) -> float:
    return min(_count_own_gpus(), replicas)


def _count_ray_gpus(backend: Backend, _: int) -> float:
    is_remote = backend.cluster is not None
    return float("inf") if is_remote else _count_own_gpus()


def _run_locally(job: Job, observe: Observer) -> None:
    from ablations.backends.local import run_locally  # imports torch

    run_locally(job, observe)


def _run_on_ray(job: Job, observe: Observer) -> None:
    from ablations.backends.on_ray import run_on_ray  # imports torch and Ray

    run_on_ray(job, observe)


_BACKENDS: Mapping[BackendName, _Entry] = {
    "ray": _Entry(is_concurrent=True, count_gpus=_count_ray_gpus, run=_run_on_ray),
    "local": _Entry(is_concurrent=False, count_gpus=_count_local_gpus, run=_run_locally),
}
