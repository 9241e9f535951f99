"""The device that trains, and its throughput, which is measured once and then cached."""

import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from ablations.files import hash_value, read_cache, write_cache
from ablations.plans import TrialSpec
from ablations.trial.environment import count_cores, name_processor


@dataclass(frozen=True, kw_only=True)
class Device:
    """Processor or GPUs of this machine."""

    name: str
    """Model of the processor or the GPU."""

    kind: Literal["cpu", "cuda"]
    """PyTorch's type of the device."""

    count: int
    """Number of cores or GPUs."""

    @property
    def unit(self) -> str:
        """What one trial occupies."""
        return "GPU" if self.kind == "cuda" else "core"


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Images per second of one network on a device that runs nothing else."""

    macs: int
    """Multiply-adds of the network's forward pass on one image."""

    batch_size: int
    """Images per step; fewer than a replica's in the recipe if those are too slow or too large."""

    train_images_per_second: float
    """Training: augmentation, forward pass, backward pass and step."""

    test_images_per_second: float
    """Evaluation."""


@dataclass(kw_only=True)
class _Cache:
    """Content of the cache file."""

    gpus: dict[str, list[str]] = field(default_factory=dict)
    """Models of the visible GPUs, by the description of the machine."""

    throughput: dict[str, Throughput] = field(default_factory=dict)
    """Measurements by the hash of what they depend on."""


_CACHE = TypeAdapter(_Cache)


def find_device(cache_file: Path, *, use_gpu: bool = True) -> Device:
    """The device that trials use: a GPU if there is one and it may be used, else the processor.

    The GPUs are cached in `cache_file`, because listing them takes PyTorch, which loads slowly.
    """
    if use_gpu:
        cache = _read_cache(cache_file)
        machine = _describe_machine()
        if machine not in cache.gpus:
            cache.gpus[machine] = _list_gpus()
            write_cache(cache_file, _CACHE.dump_python(cache))
        if names := cache.gpus[machine]:
            return Device(name=names[0], kind="cuda", count=len(names))
    return Device(name=name_processor(), kind="cpu", count=count_cores())


def find_throughput(spec: TrialSpec, device: Device, *, macs: int, cache_file: Path) -> Throughput:
    """The throughput of a device, measured on the network of `spec` unless it is cached.

    One measurement serves all networks with the same body, image shape, precision, batch size,
    device and version of PyTorch.

    Args:
        spec: The trial to measure; its dataset is not read.
        device: The device to measure.
        macs: Multiply-adds of the network.
        cache_file: Where measurements are cached.

    Raises:
        MachineError: If the GPU cannot hold the network.
    """
    facts = {
        "device": device.name,
        "torch": version("torch"),
        "body": spec.network.body.architecture(),
        "shape": [spec.dataset.channels, spec.dataset.image_size, spec.dataset.num_classes],
        "precision": spec.recipe.precision,
        "batch_size": spec.recipe.replica_batch_size,
    }
    key = hash_value(facts)
    cache = _read_cache(cache_file)
    if key not in cache.throughput:
        from ablations.estimate.measurement import measure_throughput  # imports torch

        cache.throughput[key] = measure_throughput(spec, device.kind, macs=macs)
        write_cache(cache_file, _CACHE.dump_python(cache))
    return cache.throughput[key]


def _list_gpus() -> list[str]:
    import torch  # slow to import

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _describe_machine() -> str:
    """What PyTorch's list of GPUs depends on, as far as it is visible without PyTorch."""
    nodes = sorted(path.name for path in Path("/dev").glob("nvidia*"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return " ".join([platform.node(), version("torch"), visible, *nodes])


def _read_cache(cache_file: Path) -> _Cache:
    try:
        return _CACHE.validate_python(read_cache(cache_file))
    except ValidationError:
        return _Cache()
