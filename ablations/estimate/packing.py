"""Packing of GPUs: how many trials fit into the memory of one at the same time."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ablations.errors import MachineError
from ablations.plans import PlannedTrial, TrialSpec
from ablations.trial.records import TrialRecord

MARGIN = 1.2
"""Memory that PyTorch's allocator reserves, per memory that it hands out at the peak."""

PROCESS_BYTES = 1e9
"""Memory that a process takes besides: CUDA's context and libraries."""

SHARES = 10_000
"""Ray counts GPUs in units of this part of one."""

MOST_TRIALS = 64
"""Most trials on a GPU: the units of more than 99 would not be exact, and each needs a core."""


def compute_share(peak: float, memory: float) -> float:
    """The share of a GPU for each trial, so that as many run together as fit into its memory.

    Args:
        peak: Peak memory of the largest trial in bytes.
        memory: Memory of the GPU in bytes.

    Examples:
        >>> [compute_share(peak, 80e9) for peak in (2e9, 21e9, 79e9)]
        [0.0434, 0.3333, 1.0]
    """
    count = int(memory // (MARGIN * peak + PROCESS_BYTES))
    return SHARES // min(max(1, count), MOST_TRIALS) / SHARES


def find_share(
    trials: Iterable[PlannedTrial], records: Mapping[str, TrialRecord], *, is_remote: bool = False
) -> float | None:
    """The share of a GPU for each of these trials; None if this machine has no GPU.

    The peak memory of a variant is that of its finished trials on this GPU, or else measured.

    Args:
        trials: Trials of a plan, those that have finished included.
        records: What is known of them, by key.
        is_remote: Whether a cluster is to train.

    Raises:
        MachineError: If a cluster is to train, and its GPUs cannot be measured here.
    """
    gpu = _find_gpu()
    if gpu is None:
        if is_remote:
            raise MachineError(
                "--gpus-per-trial auto measures trials on this machine, which must have a GPU like "
                "those of the cluster, got none. Pass a number."
            )
        return None
    name, memory = gpu
    peaks: dict[str, float] = {}
    missing: dict[str, TrialSpec] = {}
    for trial in trials:
        record = records.get(trial.spec.key)
        if record is not None and record.environment.device == name:
            peak = 1e6 * max(epoch.peak_memory_mb for epoch in record.epochs)
            peaks[trial.variant.name] = max(peak, peaks.get(trial.variant.name, 0.0))
        elif trial.state in ("to run", "failed"):
            missing[trial.variant.name] = trial.spec
    if not missing:
        return None
    return compute_share(
        max(peaks.get(name) or measure_peak(spec, "cuda") for name, spec in missing.items()), memory
    )


def measure_peak(spec: TrialSpec, kind: str) -> float:
    """Peak memory of a trial in bytes: one training step and one of evaluation on random images.

    Args:
        spec: The trial; its dataset is not read, but counted unless it is a folder.
        kind: PyTorch's type of the device.
    """
    # Late: plans without a GPU do without torch.
    import torch

    from ablations.speed.memory import watch_memory
    from ablations.speed.workload import draw_data, make_epoch, place_network
    from ablations.trial.evaluation import evaluate

    device, dataset = torch.device(kind), spec.dataset
    few = replace(dataset, train_size=spec.recipe.batch_size, test_size=spec.recipe.batch_size)
    with watch_memory(device) as watch:
        watch.reset()
        data, network = draw_data(few, device=device), place_network(spec.network, device)
        make_epoch(network, data, spec.recipe, device=device)()
        evaluate(network, data, spec.recipe, device=device)
        peak = watch.read_peak()
    del data, network
    torch.cuda.empty_cache()  # does nothing where no GPU is used
    images = 0 if dataset.is_folder else dataset.train_size + dataset.test_size
    return float(peak + images * dataset.channels * dataset.image_size**2)


def _find_gpu() -> tuple[str, float] | None:
    """Model and memory in bytes of the smallest GPU of this machine."""
    import torch  # slow to import

    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    smallest = min(gpus, key=lambda gpu: gpu.total_memory, default=None)
    return None if smallest is None else (smallest.name, float(smallest.total_memory))
