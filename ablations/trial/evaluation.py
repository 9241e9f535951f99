"""Evaluation: top-1 and top-5 errors of a network, and which images it classifies correctly."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ablations.choices import Precision
from ablations.config import Recipe
from ablations.data.batches import ALONE, Data, Replica, Split, iterate_test_batches
from ablations.data.catalogue import Dataset
from ablations.trial.synchronisation import add_up
from ablations.trial.training import autocast

BATCH_SIZE = 500
"""Maximum number of images per batch; it affects results by rounding only."""
BATCH_PIXELS = 100 * 224**2
"""Maximum number of pixels per batch."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of one pass over the test images."""

    top1_error: float
    """Percent of images whose label does not have the highest score."""

    top5_error: float
    """Percent of images whose label is not among the five highest scores."""

    top1_error_320: float | None
    """Top-1 error in percent on test images at 320x320 pixels; None for small images."""

    correct: Tensor
    """(N,) bool on the CPU: whether each test image is classified correctly, in dataset order."""


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    data: Data,
    recipe: Recipe,
    *,
    device: torch.device,
    replica: Replica = ALONE,
) -> Outcome:
    """Evaluates the network on the test images.

    Replicas with equal networks share the batches and get equal outcomes, those of one process.
    """
    network.eval()
    run = partial(
        find_hits,
        network,
        dataset=data.dataset,
        precision=recipe.precision,
        device=device,
        replica=replica,
    )
    hit = run(data.test)
    top1_error_320 = None
    if data.test_320 is not None:
        top1_error_320 = compute_error(run(data.test_320)[:, 0])
    return Outcome(
        top1_error=compute_error(hit[:, 0]),
        top5_error=compute_error(hit.any(dim=1)),
        top1_error_320=top1_error_320,
        correct=hit[:, 0],
    )


def compute_error(correct: Tensor) -> float:
    """Percent of images that are not classified correctly.

    >>> compute_error(torch.tensor([True, True, True, False]))
    25.0
    """
    return 100 * (1 - correct.double().mean().item())


def choose_batch_size(image_size: int) -> int:
    """Number of images per batch in evaluation, given the side of the images in pixels."""
    return max(1, min(BATCH_SIZE, BATCH_PIXELS // image_size**2))


def count_batches(split: Split) -> int:
    """Number of batches in which a split is evaluated."""
    return math.ceil(len(split) / choose_batch_size(split.image_size))


@torch.inference_mode()
def find_hits(
    network: nn.Module,
    split: Split,
    dataset: Dataset,
    *,
    precision: Precision,
    device: torch.device,
    replica: Replica = ALONE,
    advance: Callable[[], object] = lambda: None,
) -> Tensor:
    """Whether the label has the highest score, the second highest, and so on down to the fifth.

    Args:
        network: The network in evaluation mode, on `device`.
        split: The images.
        dataset: Dataset of the images, for their normalisation.
        precision: Numbers that the network computes with.
        device: Where it runs.
        replica: Which of several processes with equal networks, which share the batches, this is.
        advance: Called after each of `count_batches` batches.

    Shapes:
        (N, 5) bool on the CPU
    """
    batch_size = choose_batch_size(split.image_size)
    hits = torch.zeros(len(split), 5, dtype=torch.uint8, device=device)
    own = torch.split(hits, batch_size)[replica.rank :: replica.count]  # views; the rest remain 0
    batches = iterate_test_batches(
        split, dataset, batch_size=batch_size, device=device, replica=replica
    )
    for hit, (images, labels) in zip(own, batches, strict=True):
        with autocast(precision, device):
            scores = network(images).float()
        best = scores.topk(min(5, scores.shape[1])).indices  # highest first
        hit[:, : best.shape[1]] = best == labels[:, None]
        advance()
    return add_up(hits, replica).bool().cpu()
