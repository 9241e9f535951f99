"""Chooses a backend, and refuses at once what this machine cannot give."""

import os
from typing import Literal

import torch

from ablations.backends.events import Job, Observer
from ablations.backends.local import run_locally
from ablations.errors import MachineError

BackendName = Literal["ray", "local"]
"""Ray Tune, trials side by side; or this process alone, one after the other."""


def check_gpus(backend: BackendName, gpus_per_trial: float | None) -> None:
    """Refuses more GPUs than there are, before anything is started or written.

    What a cluster elsewhere has is known only once it is joined, and checked then.

    Raises:
        MachineError: If the machine has fewer GPUs than a trial needs.
    """
    there = torch.cuda.device_count()
    if backend == "local":
        there = min(there, 1)
    elif "RAY_ADDRESS" in os.environ:
        return
    if gpus_per_trial is not None and gpus_per_trial > there:
        raise MachineError(
            f"--gpus-per-trial must be at most {there} on this machine with the backend "
            f"{backend}, got {gpus_per_trial:g}. Leave it out to train on what is there."
        )


def run_job(backend: BackendName, job: Job, observe: Observer) -> None:
    """Runs every trial of the job, and tells the observer what happens.

    Raises:
        MachineError: If the cluster lacks what a trial needs.
        KeyboardInterrupt: If the user stopped the run.
    """
    if backend == "local":
        run_locally(job, observe)
        return
    from ablations.backends.on_ray import run_on_ray  # starts Ray's machinery on import

    run_on_ray(job, observe)
