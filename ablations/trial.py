"""One trial: spec -> one record an epoch, in the order the data flows.

It knows no Ray, no MLflow and no YAML; both backends drive this one iterator.
"""

import hashlib
import logging
import math
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ablations.data import Data, load_data
from ablations.evaluation import evaluate
from ablations.plan import TrialSpec
from ablations.records import EpochRecord
from ablations.training import build_optimiser, train_epoch
from sknet import build_network

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _State:
    """What a checkpoint holds."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    records: list[EpochRecord]


def run_trial(
    spec: TrialSpec,
    *,
    cache_dir: Path,
    checkpoint: Path,
    device: torch.device,
    loader_workers: int = 0,
) -> Iterator[EpochRecord]:
    """Trains one network, an epoch at a time; equal specs give equal records, interrupted or not.

    If `checkpoint` holds earlier epochs of the same spec, their records come first, as they were.
    It is rewritten atomically after each epoch.

    Args:
        spec: What to train.
        cache_dir: Where `prepare_data` wrote the dataset's arrays.
        checkpoint: File of the trial's state.
        device: Where to compute.
        loader_workers: Processes that decode a folder of images; records do not depend on it.

    Raises:
        MachineError: If the dataset is not prepared, or an image of a folder is unreadable.
    """
    torch.set_num_threads(1)  # results on a CPU depend on it, and trials run side by side
    data = load_data(spec.dataset, cache_dir=cache_dir, device=device, workers=loader_workers)
    state = _resume_or_start(spec, checkpoint, device=device)
    yield from state.records
    while not (state.records and state.records[-1].is_last):
        record = _run_epoch(spec, state, data, device=device)
        state.records.append(record)
        _write_checkpoint(state, checkpoint, key=spec.key)
        yield record


def make_generator(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """A random generator of its own for every seed, purpose and epoch, on the CPU.

    >>> draws = [torch.rand(1, generator=make_generator(0, "shuffle", e)) for e in (0, 0, 1)]
    >>> draws[0] == draws[1], draws[0] == draws[2]
    (tensor([True]), tensor([False]))
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def read_final_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The network's weights and buffers, on the CPU, as a checkpoint holds them."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights: dict[str, torch.Tensor] = content["network"]
    return weights


def _resume_or_start(spec: TrialSpec, checkpoint: Path, *, device: torch.device) -> _State:
    network: nn.Module = build_network(
        spec.network, generator=make_generator(spec.seed, "initialisation")
    )
    network = network.to(device).to(memory_format=torch.channels_last)
    state = _State(network=network, optimiser=build_optimiser(network, spec.recipe), records=[])
    if checkpoint.is_file():
        content = _read_checkpoint(checkpoint, device)
        if content.get("key") == spec.key:
            state.network.load_state_dict(content["network"])
            state.optimiser.load_state_dict(content["optimiser"])
            state.records = [_unpack(record) for record in content["records"]]
    return state


def _run_epoch(spec: TrialSpec, state: _State, data: Data, *, device: torch.device) -> EpochRecord:
    epoch = len(state.records)
    started = time.perf_counter()
    with _seeded(make_generator(spec.seed, "dropout", epoch), device):
        trained = train_epoch(
            state.network,
            state.optimiser,
            data,
            spec.recipe,
            epoch=epoch,
            shuffle=make_generator(spec.seed, "shuffle", epoch),
            augmentation=make_generator(spec.seed, "augmentation", epoch),
            device=device,
        )
    between = time.perf_counter()
    outcome = evaluate(state.network, data, spec.recipe, device=device)
    ended = time.perf_counter()
    diverged = not math.isfinite(trained.loss)
    is_last = diverged or epoch == spec.recipe.epochs - 1
    return EpochRecord(
        epoch=epoch,
        is_last=is_last,
        diverged=diverged,
        learning_rate=trained.learning_rate,
        train_loss=trained.loss,
        top1_error=outcome.top1_error,
        top5_error=outcome.top5_error,
        top1_error_320=outcome.top1_error_320,
        correct=tuple(outcome.correct.tolist()) if is_last else None,
        train_seconds=between - started,
        test_seconds=ended - between,
        images_per_second=trained.images / (between - started),
        peak_memory_mb=_measure_peak_memory(device) / 1e6,
    )


@contextmanager
def _seeded(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Within it PyTorch's global generators start from `generator`; after it they go on as before.

    Our networks draw nothing from them; a module of the user's own may, by dropout.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(generator.initial_seed())
        yield


def _measure_peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _write_checkpoint(state: _State, checkpoint: Path, *, key: str) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    staging = checkpoint.with_suffix(f".{os.getpid()}.tmp")
    content = {
        "key": key,
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "records": [_pack(record) for record in state.records],
    }
    torch.save(content, staging)
    staging.replace(checkpoint)


def _read_checkpoint(checkpoint: Path, device: torch.device) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(checkpoint, map_location=device, weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch.load raises many types on a damaged file
        logger.warning("%s is damaged, the trial starts anew: %s", checkpoint, error)
        return {}
    return content


def _pack(record: EpochRecord) -> dict[str, Any]:
    correct = None if record.correct is None else torch.tensor(record.correct)
    return {**asdict(record), "correct": correct}


def _unpack(packed: dict[str, Any]) -> EpochRecord:
    correct = None if packed["correct"] is None else tuple(packed["correct"].tolist())
    return EpochRecord(**{**packed, "correct": correct})
