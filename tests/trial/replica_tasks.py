"""What replicas do in tests, in a module that their processes can import."""

import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

from ablations.data.arrays import load_data
from ablations.data.batches import Replica
from ablations.plans import TrialSpec
from ablations.trial import evaluation
from ablations.trial import run as run_module
from ablations.trial.records import EpochRecord
from ablations.trial.run import make_generator, start_network
from ablations.trial.synchronisation import (
    add_up,
    average_gradients,
    copy_buffers,
    synchronise_norms,
)
from ablations.trial.training import build_augmentation, build_optimiser, train_epoch


class Wasteful(nn.Module):
    """A user's operator with parameters that it does not use."""

    def __init__(self, channels: int, *, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of an image."""
        return self.convolution(x)


class Exact(nn.Module):
    """A network in double precision, by which rounding can be told from anything else."""

    def __init__(self, network: nn.Module, *, parts: int = 1) -> None:
        super().__init__()
        self.network = network.double()
        self.parts = parts

    def forward(self, x: Tensor) -> Tensor:
        """Scores, with the statistics of batch normalisation of each of some equal parts."""
        parts = self.parts if self.training else 1
        return torch.cat([self.network(part) for part in x.double().chunk(parts)])


def train_exactly(
    replica: Replica, device: torch.device, *, spec: TrialSpec, cache_dir: Path, parts: int = 1
) -> Iterator[dict[str, object]]:
    """Trains two epochs in double precision; yields what was measured, and the weights."""
    torch.set_num_threads(1)
    data = load_data(spec.dataset, cache_dir=cache_dir, device=device)
    network = start_network(spec, device=device)
    if replica.count > 1 and spec.recipe.batch_norm == "synchronised":
        synchronise_norms(network, device=device)
    network = Exact(network, parts=parts)
    optimiser = build_optimiser(network, spec.recipe)
    called = average_gradients(network, replica, device=device, may_skip=False)
    for epoch in range(2):
        trained = train_epoch(
            called,
            optimiser,
            data,
            spec.recipe,
            epoch=epoch,
            shuffle=make_generator(0, "shuffle", epoch),
            augmentation=build_augmentation(
                spec.recipe,
                generator=make_generator(0, "augmentation", epoch),
                distortion=make_generator(0, "distortion", epoch),
            ),
            device=device,
            replica=replica,
        )
        copy_buffers(network, replica)
        with patch.object(evaluation, "BATCH_SIZE", 40 // (2 * replica.count) + 1):
            tested = evaluation.evaluate(network, data, spec.recipe, device=device, replica=replica)
        yield {
            "loss": trained.loss,
            "images": trained.images,
            "error": tested.top1_error,
            "correct": tested.correct.tolist(),
            "weights": [p.double().norm().item() for p in network.parameters()],
            "statistics": [b.double().norm().item() for b in network.buffers()],
        }


def train_all(
    replica: Replica, device: torch.device, *, specs: Sequence[TrialSpec], cache_dir: Path
) -> Iterator[dict[str, object]]:
    """Trains one network after the other, since processes are slow to start."""
    for spec in specs:
        yield from train_exactly(replica, device, spec=spec, cache_dir=cache_dir)


def resume_apart(
    replica: Replica, device: torch.device, *, spec: TrialSpec, cache_dir: Path, folder: Path
) -> Iterator[EpochRecord]:
    """Trains a trial; each replica resumes from a checkpoint of its own, named by its rank."""
    checkpoint = folder / f"{replica.rank}.pt"
    yield from run_module._train(
        spec, replica, device, cache_dir=cache_dir, checkpoint=checkpoint, loader_workers=0
    )


def wait_for_others(replica: Replica) -> None:
    """Blocks until every replica has come here."""
    add_up(torch.zeros(1), replica)


def fail(replica: Replica, _: torch.device, *, how: str) -> Iterator[int]:
    """Yields once; then the second replica fails while the other one waits for it."""
    logging.getLogger("tasks").warning("layers may be %s", "missing")
    wait_for_others(replica)
    yield replica.rank
    if not replica.is_first:
        if how == "raise":
            raise ValueError("a layer is missing")
        if how == "starve":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        if how == "exit":
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    wait_for_others(replica)


def linger(replica: Replica, _: torch.device, *, folder: Path) -> Iterator[int]:
    """Leaves its process id in a folder, yields, and never ends."""
    (folder / f"{os.getpid()}").touch()
    wait_for_others(replica)
    yield replica.rank
    time.sleep(600)
