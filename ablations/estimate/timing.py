"""Seconds that trials will take, from finished ones or from a measured throughput."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ablations.data.catalogue import Dataset
from ablations.estimate.throughput import Device, Throughput
from ablations.plan import Plan
from ablations.trial.records import TrialRecord

LARGER_TEST = (320 / 224) ** 2
"""Multiply-adds of a test image of 320x320 pixels, in those of one of 224x224."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long the trials of a plan will take, each with a core or a GPU to itself."""

    seconds: Mapping[str, float]
    """Of each trial to run, by key."""

    basis: str
    """What that rests on."""


def time_trials(
    plan: Plan,
    macs: Mapping[str, int],
    records: Mapping[str, TrialRecord],
    device: Device,
    *,
    measure: Callable[[], Throughput],
) -> Timing:
    """Estimates the trials to run.

    A variant with finished trials on this device takes their median time; the others take the time
    in proportion to their multiply-adds: from the finished trials of the plan, or if there are none
    from a measurement.

    What it leaves out: that small networks spend time on other things than multiply-adds, that
    cores share memory and GPUs are shared, the decoding of images, that checkpoints save what is
    half done, and the start of Ray.

    Args:
        plan: The trials.
        macs: Multiply-adds of the variants' networks.
        records: What is known of the plan's trials.
        device: What will train.
        measure: Measures how fast it is; called only if no trial has finished.
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
        speed = f"{throughput.train_images_per_second:,.4g} images a second"
        basis = f"measured here on {device.name}: {speed} of {throughput.macs / 1e6:.4g} MFLOPs"
        rate = _time_epoch(plan.trials[0].spec.dataset, throughput) / throughput.macs
    epochs = plan.recipe.epochs
    per_variant = {
        name: epochs * (statistics.median(per_epoch[name]) if name in per_epoch else rate * own)
        for name, own in macs.items()
    }
    waiting = {spec.key for spec in plan.to_run}
    return Timing(
        seconds={
            trial.spec.key: per_variant[trial.variant.name]
            for trial in plan.trials
            if trial.spec.key in waiting
        },
        basis=basis,
    )


def _collect_epochs(
    plan: Plan, records: Mapping[str, TrialRecord], device: Device
) -> dict[str, list[float]]:
    """Seconds of an epoch in each finished trial on this kind of device, by variant."""
    found: dict[str, list[float]] = {}
    for trial in plan.trials:
        record = records.get(trial.spec.key)
        if record is not None and record.environment.device == device.name:
            found.setdefault(trial.variant.name, []).append(record.seconds / len(record.epochs))
    return found


def _time_epoch(dataset: Dataset, throughput: Throughput) -> float:
    """Seconds of an epoch of the measured network; folders are also evaluated at 320x320."""
    tests = dataset.test_size * (1 + LARGER_TEST if dataset.is_folder else 1)
    return (
        dataset.train_size / throughput.train_images_per_second
        + tests / throughput.test_images_per_second
    )
