"""Top-1 and top-5 error of a network, and which images it gets right."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ablations.config import Recipe
from ablations.data import Data, iterate_test_batches
from ablations.training import autocast

BATCH_SIZE = 500
"""Images evaluated at once; it does not change results beyond rounding."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one pass over the test images measured."""

    top1_error: float
    """Percent of images whose label is not the highest score."""

    top5_error: float
    """Percent of images whose label is not among the five highest scores."""

    correct: Tensor
    """(N,) bool on the CPU: whether each test image is right, in the dataset's order."""


@torch.inference_mode()
def evaluate(network: nn.Module, data: Data, recipe: Recipe, *, device: torch.device) -> Outcome:
    """Measures the network's errors on the test images."""
    network.eval()
    hits = []
    for images, labels in iterate_test_batches(data, batch_size=BATCH_SIZE, device=device):
        with autocast(recipe, device):
            scores = network(images).float()
        best = scores.topk(min(5, scores.shape[1])).indices  # highest first
        hits.append(best == labels[:, None])
    hit = torch.cat(hits).cpu()
    return Outcome(
        top1_error=100 * (1 - hit[:, 0].double().mean().item()),
        top5_error=100 * (1 - hit.any(dim=1).double().mean().item()),
        correct=hit[:, 0],
    )
