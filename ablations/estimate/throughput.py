"""How fast this machine trains: measured once, then remembered, so that later plans are quick."""

import json
import logging
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from ablations.files import write_atomically
from ablations.plan import TrialSpec, make_key
from ablations.trial.environment import name_processor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Device:
    """What trains the trials on this machine."""

    name: str
    """Model of the processor or of the GPU."""

    kind: Literal["cpu", "cuda"]
    """PyTorch's word for it."""

    count: int
    """How many cores or GPUs there are."""

    @property
    def unit(self) -> str:
        """What one trial takes of it."""
        return "GPU" if self.kind == "cuda" else "core"


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """How fast a device goes through the images of one network, one trial at a time."""

    macs: int
    """Multiply-adds of the network's forward pass on one image."""

    batch_size: int
    """Images in a step; fewer than the recipe's where that would take too long or too much."""

    train_images_per_second: float
    """Images through forward pass, backward pass and step, with the recipe's augmentation."""

    test_images_per_second: float
    """Images through an evaluation."""


def find_device(cache_file: Path, *, use_gpu: bool = True) -> Device:
    """The device that trials take: a GPU if there is one and it may be used, else the processor.

    Which GPUs there are is remembered in `cache_file`, since asking PyTorch means to load it.
    """
    if use_gpu:
        cache = _read_cache(cache_file)
        fingerprint = _describe_machine()
        if fingerprint not in cache["gpus"]:
            cache["gpus"][fingerprint] = _ask_for_gpus()
            _write_cache(cache_file, cache)
        names: list[str] = cache["gpus"][fingerprint]
        if names:
            return Device(name=names[0], kind="cuda", count=len(names))
    return Device(name=name_processor(), kind="cpu", count=_count_cores())


def find_throughput(spec: TrialSpec, device: Device, *, macs: int, cache_file: Path) -> Throughput:
    """How fast `device` trains, measured on the network of `spec` unless it is known already.

    It is known if it was measured on any network of the same body, for images of the same shape,
    with the same precision and batch size, on the same device and version of PyTorch. A cache that
    cannot be written is done without.

    Args:
        spec: The trial whose network and recipe are measured; its dataset need not be there.
        device: What to measure.
        macs: Multiply-adds of its network.
        cache_file: Where measurements are kept.
    """
    facts = {
        "device": device.name,
        "torch": version("torch"),
        "body": spec.network.body.architecture(),
        "shape": [spec.dataset.channels, spec.dataset.image_size, spec.dataset.num_classes],
        "precision": spec.recipe.precision,
        "batch_size": spec.recipe.batch_size,
    }
    key = make_key(facts)
    cache = _read_cache(cache_file)
    if key not in cache["throughput"]:
        from ablations.estimate.measurement import measure_throughput  # loads torch

        measured = measure_throughput(spec, device.kind, macs=macs)
        cache["throughput"][key] = {**facts, "measured": asdict(measured)}
        _write_cache(cache_file, cache)
    return Throughput(**cache["throughput"][key]["measured"])


def _ask_for_gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _describe_machine() -> str:
    """What the GPUs that PyTorch finds depend on, as far as that is seen without it."""
    nodes = sorted(path.name for path in Path("/dev").glob("nvidia*"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return " ".join([platform.node(), version("torch"), visible, *nodes])


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_cache(cache_file: Path) -> dict[str, dict[str, Any]]:
    try:
        cache = json.loads(cache_file.read_text(encoding="utf-8"))
        return {part: dict(cache[part]) for part in ("gpus", "throughput")}
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or damaged: it is made anew
        return {"gpus": {}, "throughput": {}}


def _write_cache(cache_file: Path, cache: dict[str, dict[str, Any]]) -> None:
    try:
        write_atomically(cache_file, json.dumps(cache, indent=1) + "\n")
    except OSError as error:
        logger.info("%s is not writable: %s", cache_file, error)
