"""Training: learning-rate schedule, optimiser, and the loop over one epoch."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ablations.choices import Precision
from ablations.config import Recipe
from ablations.data.batches import (
    ALONE,
    Augmentation,
    Data,
    Distortion,
    Replica,
    iterate_train_batches,
)
from ablations.trial.synchronisation import add_up


@dataclass(frozen=True, kw_only=True)
class TrainOutcome:
    """Result of one epoch of training."""

    loss: float
    """Mean training loss over the epoch's images, with label smoothing; NaN or infinite if the
    training diverged."""

    learning_rate: float
    """Learning rate of the last step."""

    images: int
    """Number of images trained on, by all replicas together."""


def compute_learning_rate(recipe: Recipe, progress: float) -> float:
    """Learning rate after `progress` epochs, which may be fractional.

    It rises linearly during warm-up. Then `cosine` decays along half a cosine to 0 at the end of
    the last epoch, and `step` is multiplied by `step_factor` at each of its epochs.
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
    """SGD with momentum; weight decay applies to norms and biases only if the recipe says so."""
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
        fused=True,
    )


def build_augmentation(
    recipe: Recipe, *, generator: torch.Generator, distortion: torch.Generator
) -> Augmentation:
    """The random changes of training images that a recipe asks for.

    Args:
        recipe: The recipe.
        generator: Random generator for crops and flips.
        distortion: Random generator for rotations and shifts of pixel values, so that crops and
            flips do not depend on these.
    """
    further = Distortion(
        rotation=recipe.rotation, pixel_jitter=recipe.pixel_jitter, generator=distortion
    )
    return Augmentation(
        crop=recipe.crop,
        padding=recipe.crop_padding,
        crop_fill=recipe.crop_fill,
        crop_scale=recipe.crop_scale,
        flip=recipe.flip,
        generator=generator,
        distortion=further if recipe.rotation or recipe.pixel_jitter else None,
    )


def train_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    data: Data,
    recipe: Recipe,
    *,
    epoch: int,
    shuffle: torch.Generator,
    augmentation: Augmentation,
    device: torch.device,
    replica: Replica = ALONE,
) -> TrainOutcome:
    """Trains on every full batch of training images once; plans make sure that there is one.

    Args:
        network: The network, on `device`, averaging gradients over the replicas; modified in place.
        optimiser: Optimiser of its parameters; the learning rate is set at each step.
        data: The dataset.
        recipe: The recipe.
        epoch: Number of the epoch, counted from 0.
        shuffle: Random generator for the order of images.
        augmentation: Random changes of the images.
        device: Where to train.
        replica: Which part of each batch to train on.
    """
    network.train()
    steps = len(data.train) // recipe.batch_size
    total = torch.zeros((), device=device)
    learning_rate = 0.0
    batches = iterate_train_batches(
        data,
        batch_size=recipe.batch_size,
        augmentation=augmentation,
        shuffle=shuffle,
        device=device,
        replica=replica,
    )
    for step, (images, labels) in enumerate(batches):
        learning_rate = compute_learning_rate(recipe, epoch + (step + 1) / (steps + 1))
        for group in optimiser.param_groups:
            group["lr"] = learning_rate
        with autocast(recipe.precision, device):
            loss = cross_entropy(network(images), labels, label_smoothing=recipe.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # not annotated in torch
        optimiser.step()
        total += loss.detach()  # stays on the device: reading it would synchronise at each step
    return TrainOutcome(
        loss=add_up(total, replica).item() / (steps * replica.count),
        learning_rate=learning_rate,
        images=steps * recipe.batch_size,
    )


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Context of a precision: bf16 where PyTorch considers it safe, or fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
