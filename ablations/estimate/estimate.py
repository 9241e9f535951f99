"""Estimates of the trials of a plan: time of a core or a GPU, wall time, and disk space."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablations.backends import Backend, is_concurrent
from ablations.complexity.counts import Complexity
from ablations.complexity.scales import Scales
from ablations.data.catalogue import Dataset
from ablations.errors import InputError
from ablations.estimate.durations import estimate_durations
from ablations.estimate.throughput import Device, find_device, find_throughput
from ablations.plans import Plan, TrialSpec
from ablations.trial.records import TrialRecord
from ablations.workspace import Workspace

BYTES_PER_NUMBER = 4
"""Size of a weight, its momentum or a running statistic."""
FIXED_BYTES = 5_000
"""Size of a record's facts and environment."""
BYTES_PER_BLOCK = 12_000
"""Size of the names and offsets of the weights of one block."""
BYTES_PER_EPOCH = 450
"""Size of one epoch in a record's learning curves."""
BYTES_PER_PATH = 64
"""Size of one path in the list of an image folder."""


@dataclass(frozen=True, kw_only=True)
class TrialEstimate:
    """Time and disk space of one trial."""

    seconds: float
    """Time of one core or one GPU: that of all replicas."""

    record_bytes: int
    """Size of the record: weights, learning curves, outcomes."""

    checkpoint_bytes: int
    """Size of the checkpoint: weights and momentum, twice while it is rewritten."""

    replicas: int = 1
    """Cores or GPUs that it takes at the same time."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Time and disk space of the trials to run."""

    trials: Mapping[str, TrialEstimate]
    """Estimates by trial key."""

    datasets: Mapping[str, int]
    """Sizes in bytes of the datasets that still have to be prepared, by name."""

    device: Device | None
    """Where the trials run; None if there is nothing to train."""

    side_by_side: int
    """Number of trials that run at the same time."""

    basis: tuple[str, ...]
    """What the times are derived from."""

    @property
    def seconds(self) -> float:
        """Time on one core or GPU, summed over the trials."""
        return sum(trial.seconds for trial in self.trials.values())

    @property
    def hours(self) -> float:
        """Core hours or GPU hours."""
        return self.seconds / 3600

    @property
    def wall_seconds(self) -> float:
        """Wall time if all cores or GPUs are busy until the end."""
        if not self.trials or self.device is None:
            return 0.0
        at_once = min(self.side_by_side, self.device.count, len(self.trials))
        count = self.device.count
        wall = [trial.seconds / min(trial.replicas, count) for trial in self.trials.values()]
        return max(sum(wall) / at_once, *wall)

    @property
    def record_bytes(self) -> int:
        """Size of all records."""
        return sum(trial.record_bytes for trial in self.trials.values())

    @property
    def checkpoint_bytes(self) -> int:
        """Size of the largest checkpoints that exist at the same time."""
        sizes = sorted((trial.checkpoint_bytes for trial in self.trials.values()), reverse=True)
        return sum(sizes[: self.side_by_side])

    @property
    def disk_bytes(self) -> int:
        """Upper bound of what the run adds to the runs folder, without MLflow's copies."""
        return self.record_bytes + self.checkpoint_bytes + sum(self.datasets.values())


def estimate_plan(
    plan: Plan,
    scales: Mapping[str, Scales],
    records: Mapping[str, TrialRecord],
    *,
    baseline: str,
    backend: Backend,
    workspace: Workspace,
) -> Estimate:
    """Estimates the trials of a plan that are still to run.

    Times are derived from the finished trials of the plan. If there are none, the throughput of
    this machine is measured on the baseline, once. Nothing is measured if there is nothing to run.

    Args:
        plan: The trials.
        scales: Complexities by variant.
        records: Records of the plan's trials by key, as far as there are any.
        baseline: Name of the variant to measure.
        backend: What will run the trials.
        workspace: Where the cache of throughputs and the prepared datasets are.

    Raises:
        MachineError: If the GPU cannot hold the baseline.
    """
    if not plan.to_run:
        return merge_estimates([])
    device = find_device(workspace.throughput_file, use_gpu=backend.gpus_per_trial != 0)
    macs = {name: own.trained.macs for name, own in scales.items()}
    measured = next(trial.spec for trial in plan.trials if trial.variant.name == baseline)
    durations = estimate_durations(
        plan,
        macs,
        records,
        device,
        measure=lambda: find_throughput(
            measured, device, macs=macs[baseline], cache_file=workspace.throughput_file
        ),
    )
    specs = {trial.variant.name: trial.spec for trial in plan.to_run}
    trials = {
        name: _estimate_trial(spec, scales[name].trained, durations.seconds[name])
        for name, spec in specs.items()
    }
    datasets = {spec.dataset for spec in specs.values()}
    return Estimate(
        trials={trial.spec.key: trials[trial.variant.name] for trial in plan.to_run},
        datasets={
            dataset.name: _estimate_size(dataset)
            for dataset in datasets
            if not (workspace.cache_dir / dataset.cache_name).is_dir()
        },
        device=device,
        side_by_side=_count_side_by_side(device, backend, plan.recipe.replicas),
        basis=(durations.basis,),
    )


def merge_estimates(estimates: Sequence[Estimate]) -> Estimate:
    """The estimate of several plans together; shared trials and datasets count once."""
    return Estimate(
        trials={key: trial for own in estimates for key, trial in own.trials.items()},
        datasets={name: size for own in estimates for name, size in own.datasets.items()},
        device=next((own.device for own in estimates if own.device), None),
        side_by_side=max((own.side_by_side for own in estimates), default=1),
        basis=tuple(dict.fromkeys(basis for own in estimates for basis in own.basis)),
    )


def check_hours(estimate: Estimate, max_hours: float) -> None:
    """Checks the estimated core or GPU hours against the limit of the user.

    Raises:
        InputError: If they exceed it.
    """
    if estimate.device is not None and estimate.hours > max_hours:
        raise InputError(
            f"--max-hours must be at least {_format_hours(estimate.hours)}, the estimated "
            f"{estimate.device.unit} hours of {len(estimate.trials)} "
            f"{'trial' if len(estimate.trials) == 1 else 'trials'} "
            f"({'; '.join(estimate.basis)}), got {max_hours:g}. Raise it, or narrow the run with "
            "--only, --seeds or --set epochs=N."
        )


def _format_hours(hours: float) -> str:
    """Three digits, never as a power of ten, and not less than `hours`.

    >>> [_format_hours(hours) for hours in (0.0123, 31_873.4)]
    ['0.0123', '31,874']
    """
    return f"{hours:.3g}" if hours < 1000 else f"{math.ceil(hours):,}"


def _count_side_by_side(device: Device, backend: Backend, replicas: int) -> int:
    """Number of trials at the same time, which the cores or the shares of GPUs allow."""
    if not is_concurrent(backend):
        return 1
    share = (backend.gpus_per_trial or replicas) if device.kind == "cuda" else replicas
    return max(1, int(device.count / share))


def _estimate_trial(spec: TrialSpec, complexity: Complexity, seconds: float) -> TrialEstimate:
    weights = BYTES_PER_NUMBER * (complexity.params + complexity.running_statistics)
    momentum = BYTES_PER_NUMBER * complexity.params
    blocks = sum(map(len, spec.network.body.stages()))
    rest = FIXED_BYTES + BYTES_PER_BLOCK * blocks + BYTES_PER_EPOCH * spec.recipe.epochs
    return TrialEstimate(
        seconds=seconds,
        record_bytes=weights + spec.dataset.test_size // 8 + rest,
        checkpoint_bytes=2 * (weights + momentum + rest),
        replicas=spec.recipe.replicas,
    )


def _estimate_size(dataset: Dataset) -> int:
    """Bytes of the prepared arrays, or of the list of paths for a folder of images."""
    images = dataset.train_size + dataset.test_size
    if dataset.is_folder:
        return images * BYTES_PER_PATH
    return images * (dataset.channels * dataset.image_size**2 + 1)
