"""One epoch of training: the learning rate, the optimiser, the loop."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ablations.config import Recipe
from ablations.data.batches import Augmentation, Data, iterate_train_batches
from ablations.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TrainOutcome:
    """What one epoch of training measured."""

    loss: float
    """Mean training loss over the epoch's images, with label smoothing; NaN or infinite if the
    training diverged."""

    learning_rate: float
    """Learning rate of the last step."""

    images: int
    """Number of images seen."""


def compute_learning_rate(recipe: Recipe, progress: float) -> float:
    """Learning rate after `progress` epochs, which need not be whole.

    It rises linearly over the warm-up; after it, `cosine` falls along a half cosine to 0 at the
    last epoch's end, `step` is multiplied by its factor at the start of each of its epochs.
    """
    if progress < recipe.warmup_epochs:
        return recipe.learning_rate * progress / recipe.warmup_epochs
    if recipe.schedule == "step":
        passed = sum(epoch <= progress for epoch in recipe.step_epochs)
        return float(recipe.learning_rate * recipe.step_factor**passed)
    length = recipe.epochs - recipe.warmup_epochs
    part = (progress - recipe.warmup_epochs) / length if length else 1.0
    return recipe.learning_rate * (1 + math.cos(math.pi * part)) / 2


def build_optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with momentum; vectors (norms and biases) decay only if the recipe says so."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    decayed = [p for p in parameters if recipe.decay_norms_and_biases or p.ndim > 1]
    kept = [p for p in parameters if not (recipe.decay_norms_and_biases or p.ndim > 1)]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
    )


def train_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    data: Data,
    recipe: Recipe,
    *,
    epoch: int,
    shuffle: torch.Generator,
    augmentation: torch.Generator,
    device: torch.device,
) -> TrainOutcome:
    """Trains over the training images once.

    Args:
        network: On `device`; changed in place.
        optimiser: Of the network's parameters; its learning rate is set at each step.
        data: What to train on.
        recipe: How.
        epoch: Number of the epoch, from 0.
        shuffle: Source of the images' order.
        augmentation: Source of crops and flips.
        device: Where to compute.

    Raises:
        InputError: If there are fewer training images than a batch has.
    """
    network.train()
    steps = len(data.train) // recipe.batch_size
    if steps == 0:
        raise InputError(
            f"batch_size must be at most {len(data.train)}, the training images of "
            f"{data.dataset.name}, got {recipe.batch_size}. Pass --set batch_size=N."
        )
    total = torch.zeros((), device=device)
    learning_rate = 0.0
    batches = iterate_train_batches(
        data,
        batch_size=recipe.batch_size,
        augmentation=Augmentation(
            crop=recipe.crop,
            padding=recipe.crop_padding,
            flip=recipe.flip,
            generator=augmentation,
        ),
        shuffle=shuffle,
        device=device,
    )
    for step, (images, labels) in enumerate(batches):
        learning_rate = compute_learning_rate(recipe, epoch + (step + 1) / (steps + 1))
        for group in optimiser.param_groups:
            group["lr"] = learning_rate
        with autocast(recipe, device):
            loss = cross_entropy(network(images), labels, label_smoothing=recipe.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        optimiser.step()
        total += loss.detach()  # summed on the device: reading it here would wait for every step
    return TrainOutcome(
        loss=total.item() / steps, learning_rate=learning_rate, images=steps * recipe.batch_size
    )


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """The recipe's precision as a context: bf16 where PyTorch finds it safe, or fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16")
