"""Running one trial: an iterator over the records of its epochs.

It is independent of Ray, MLflow and YAML; all backends drive this one iterator. A trial of several
replicas is trained by processes of its own, of which the iterator yields what the first reports.
"""

import ctypes
import hashlib
import logging
import math
import resource
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ablations.data.arrays import load_data
from ablations.data.batches import ALONE, Data, Replica
from ablations.plans import TrialSpec
from ablations.trial.checkpoints import read_checkpoint, write_checkpoint
from ablations.trial.evaluation import evaluate
from ablations.trial.records import EPOCH_CODEC, EpochRecord
from ablations.trial.replicas import run_replicas
from ablations.trial.synchronisation import (
    average_gradients,
    copy_buffers,
    have_same,
    synchronise_norms,
)
from ablations.trial.training import build_augmentation, build_optimiser, train_epoch
from sknet import build_network
from sknet.spec import UserOperator

logger = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt, see its manual page."""


@dataclass(kw_only=True)
class _State:
    """State of a running trial."""

    network: nn.Module
    """The network, on the device."""

    trained: nn.Module
    """What computes the network in training: itself, or what averages its gradients too."""

    optimiser: torch.optim.Optimizer
    """The optimiser with its momentum."""

    records: list[EpochRecord]
    """Records of the epochs so far."""


def run_trial(
    spec: TrialSpec,
    *,
    cache_dir: Path,
    checkpoint: Path,
    device: torch.device,
    loader_workers: int = 0,
) -> Generator[EpochRecord, None, None]:
    """Trains one network epoch by epoch; equal specs yield equal records, interrupted or not.

    Resumes from `checkpoint` if it belongs to the same spec, and then yields the records of its
    epochs first, unchanged. The checkpoint is rewritten atomically after each epoch.

    Args:
        spec: The trial.
        cache_dir: Folder into which `prepare_data` wrote the dataset.
        checkpoint: File of the trial's state.
        device: Where to train; of several replicas, each has the device of its number.
        loader_workers: Processes that decode a folder of images for each replica; records do not
            depend on it.

    Raises:
        MachineError: If the dataset is not prepared, or an image of a folder is unreadable.
        ReplicaError: If one of several replicas failed, for whatever reason.
    """
    train = partial(
        _train, spec, cache_dir=cache_dir, checkpoint=checkpoint, loader_workers=loader_workers
    )
    if spec.recipe.replicas == 1:
        yield from train(ALONE, device)
    else:
        yield from run_replicas(train, count=spec.recipe.replicas, device_type=device.type)


def _train(
    spec: TrialSpec,
    replica: Replica,
    device: torch.device,
    *,
    cache_dir: Path,
    checkpoint: Path,
    loader_workers: int,
) -> Iterator[EpochRecord]:
    """What `run_trial` does, in this process; every replica yields the same measurements."""
    keep_freed_memory()
    with one_thread(), _refusing_exit():
        loaded = load_data(spec.dataset, cache_dir=cache_dir, device=device, workers=loader_workers)
        data = shuffle_labels(loaded, spec.seed) if spec.recipe.shuffled_labels else loaded
        state = _resume_or_start(spec, checkpoint, replica, device=device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)  # it counts since the process began
    yield from state.records
    while not (state.records and state.records[-1].is_last):
        with (
            one_thread(),
            full_precision(),
            _refusing_exit(),
        ):  # not while suspended: callers keep their settings
            record = _run_epoch(spec, state, data, replica, device=device)
        state.records.append(record)
        if replica.is_first:
            _write_checkpoint(state, checkpoint, key=spec.key)
        yield record


@contextmanager
def _refusing_exit() -> Iterator[None]:
    """Makes a user's module that calls `sys.exit` fail its trial rather than end the process."""
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"the network called sys.exit({error.code!r})") from error


def shuffle_labels(data: Data, seed: int) -> Data:
    """The same data with the labels of the training images permuted, the same for all epochs."""
    order = torch.randperm(len(data.train), generator=make_generator(seed, "labels"))
    return replace(data, train=data.train.permute_labels(order))


def one_thread() -> AbstractContextManager[None]:
    """Limits PyTorch to one thread: results on a CPU depend on it, and trials run concurrently."""
    return use_threads(1)


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Makes PyTorch use this number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def full_precision() -> Iterator[None]:
    """Makes a GPU compute fp32 as such, without PyTorch's default of TF32 in convolutions.

    cuDNN may choose the fastest of its kernels, so that trials on a GPU are equal up to rounding.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def keep_freed_memory() -> None:
    """Makes the C library keep freed memory for the next allocation.

    Otherwise, it returns large tensors to the system, which clears every page that it hands out
    again. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**25)  # bytes; the largest value that glibc accepts
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def make_generator(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """A random generator on the CPU, independent for each seed, purpose and epoch.

    >>> draws = [torch.rand(1, generator=make_generator(0, "shuffle", e)) for e in (0, 0, 1)]
    >>> draws[0] == draws[1], draws[0] == draws[2]
    (tensor([True]), tensor([False]))
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def _resume_or_start(
    spec: TrialSpec, checkpoint: Path, replica: Replica, *, device: torch.device
) -> _State:
    """The state in the checkpoint, or that of a new trial; the same epoch in every replica."""
    state = _resume(spec, checkpoint, device=device) if checkpoint.is_file() else None
    if not have_same(len(state.records) if state else 0, replica):
        logger.warning(
            "only some replicas could resume from %s. The trial starts over.", checkpoint
        )
        state = None
    state = state or _start(spec, device=device)
    is_own = isinstance(spec.network.operator, UserOperator)  # may leave parameters unused
    state.trained = average_gradients(state.network, replica, device=device, may_skip=is_own)
    return state


def _resume(spec: TrialSpec, checkpoint: Path, *, device: torch.device) -> _State | None:
    """The state in the checkpoint; None if it is unusable."""
    try:
        content = read_checkpoint(checkpoint, device=device)
        if content["key"] != spec.key:
            raise ValueError(f"it belongs to trial {content['key']}")
        state = _start(spec, device=device)
        state.network.load_state_dict(content["network"])
        state.optimiser.load_state_dict(content["optimiser"])
        state.records += map(_unpack, content["records"])
    except Exception as error:  # noqa: BLE001 - a damaged file raises many types
        logger.warning("cannot resume from %s: %s. The trial starts over.", checkpoint, error)
        return None
    return state


def start_network(spec: TrialSpec, *, device: torch.device) -> nn.Module:
    """Builds the network of a trial with its initial weights, before any training."""
    network: nn.Module = build_network(
        spec.network, generator=make_generator(spec.seed, "initialisation")
    )
    return network.to(device).to(memory_format=torch.channels_last)


def _start(spec: TrialSpec, *, device: torch.device) -> _State:
    network = start_network(spec, device=device)
    if spec.recipe.batch_norm == "synchronised":
        synchronise_norms(network, device=device)
    optimiser = build_optimiser(network, spec.recipe)
    return _State(network=network, trained=network, optimiser=optimiser, records=[])


def _run_epoch(
    spec: TrialSpec, state: _State, data: Data, replica: Replica, *, device: torch.device
) -> EpochRecord:
    epoch = len(state.records)
    started = time.perf_counter()
    with _seeded(_make_dropout_generator(spec.seed, epoch, replica), device):
        trained = train_epoch(
            state.trained,
            state.optimiser,
            data,
            spec.recipe,
            epoch=epoch,
            shuffle=make_generator(spec.seed, "shuffle", epoch),
            augmentation=build_augmentation(
                spec.recipe,
                generator=make_generator(spec.seed, "augmentation", epoch),
                distortion=make_generator(spec.seed, "distortion", epoch),
            ),
            device=device,
            replica=replica,
        )
    copy_buffers(state.network, replica)
    between = time.perf_counter()
    outcome = evaluate(state.network, data, spec.recipe, device=device, replica=replica)
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
        correct=bytes(outcome.correct.tolist()) if is_last else None,
        train_seconds=between - started,
        test_seconds=ended - between,
        images_per_second=trained.images / (between - started),
        peak_memory_mb=_measure_peak_memory(device) / 1e6,
    )


def _make_dropout_generator(seed: int, epoch: int, replica: Replica) -> torch.Generator:
    """The source of what modules draw in training, different for each replica."""
    purpose = "dropout" if replica.is_first else f"dropout of replica {replica.rank}"
    return make_generator(seed, purpose, epoch)


@contextmanager
def _seeded(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Seeds PyTorch's global generators from `generator`, and restores their state afterwards.

    Our own networks do not draw from them, but a user's module may, for example by dropout.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(generator.initial_seed())
        yield


def _measure_peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage returns KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _write_checkpoint(state: _State, checkpoint: Path, *, key: str) -> None:
    content = {
        "key": key,
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "records": [_pack(record) for record in state.records],
    }
    write_checkpoint(content, checkpoint)


def _pack(record: EpochRecord) -> dict[str, Any]:
    correct = None if record.correct is None else torch.tensor(list(record.correct)).bool()
    return {**EPOCH_CODEC.dump_python(record), "correct": correct}


def _unpack(packed: dict[str, Any]) -> EpochRecord:
    correct = None if packed["correct"] is None else bytes(packed["correct"].tolist())
    return EPOCH_CODEC.validate_python({**packed, "correct": correct})
