"""Durations of trials, derived from finished trials or from a measured throughput."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ablations.data.catalogue import Dataset
from ablations.estimate.throughput import Device, Throughput
from ablations.plans import Plan
from ablations.trial.records import TrialRecord

LARGER_TEST = (320 / 224) ** 2
"""Multiply-adds of a test image at 320x320 pixels, relative to 224x224."""


@dataclass(frozen=True, kw_only=True)
class Durations:
    """Durations of the trials of a plan, each replica on its own core or GPU."""

    seconds: Mapping[str, float]
    """Time of one core or GPU that a trial takes, by variant: that of all its replicas."""

    basis: str
    """What the durations are derived from."""


def estimate_durations(
    plan: Plan,
    macs: Mapping[str, int],
    records: Mapping[str, TrialRecord],
    device: Device,
    *,
    measure: Callable[[], Throughput],
) -> Durations:
    """Estimates the duration of a trial of each variant.

    A variant with finished trials on this device takes their median. Other variants are scaled by
    their multiply-adds from the finished trials of the plan, or from a measurement if there are
    none.

    Not modelled: time that is not proportional to multiply-adds (small networks), contention for
    memory and shared GPUs, decoding of images, epochs in checkpoints, and the start of Ray. Without
    finished trials, N replicas are taken to be N times as fast as one process.

    Args:
        plan: The trials.
        macs: Multiply-adds by variant.
        records: Records of the plan's trials by key.
        device: Where the trials will run.
        measure: Measures the device; called only if no trial has finished on it.
    """
    per_epoch = _collect_epochs(plan, records, device)
    if per_epoch:
        count = sum(map(len, per_epoch.values()))
        basis = f"from {count} finished trial{'s' if count > 1 else ''} on {device.name}"
        rate = statistics.median(
            second / macs[name] for name, seconds in per_epoch.items() for second in seconds
        )
    else:
        throughput = measure()
        speed = f"{throughput.train_images_per_second:,.4g} images per second"
        basis = f"measured here on {device.name}: {speed} at {throughput.macs / 1e6:.4g} MFLOPs"
        if plan.recipe.replicas > 1:
            basis += f", and {plan.recipe.replicas} replicas taken to share the work without loss"
        rate = _compute_epoch(plan.trials[0].spec.dataset, throughput) / throughput.macs
    epochs = plan.recipe.epochs
    return Durations(
        seconds={
            name: epochs * (statistics.median(per_epoch[name]) if name in per_epoch else rate * own)
            for name, own in macs.items()
        },
        basis=basis,
    )


def _collect_epochs(
    plan: Plan, records: Mapping[str, TrialRecord], device: Device
) -> dict[str, list[float]]:
    """Seconds of a core or GPU per epoch of each trial finished on this device, by variant."""
    found: dict[str, list[float]] = {}
    for trial in plan.trials:
        record = records.get(trial.spec.key)
        if record is not None and record.environment.device == device.name:
            found.setdefault(trial.variant.name, []).append(
                record.device_seconds / len(record.epochs)
            )
    return found


def _compute_epoch(dataset: Dataset, throughput: Throughput) -> float:
    """Seconds per epoch of the measured network; folders are also evaluated at 320x320 pixels."""
    tests = dataset.test_size * (1 + LARGER_TEST if dataset.is_folder else 1)
    return (
        dataset.train_size / throughput.train_images_per_second
        + tests / throughput.test_images_per_second
    )
