"""What is timed: a trial's own training and evaluation, on random images."""

from collections.abc import Callable

import torch
from torch import nn

from ablations.config import Recipe
from ablations.data.batches import ArraySplit, Data
from ablations.data.catalogue import Dataset
from ablations.trial.run import make_generator
from ablations.trial.training import build_augmentation, build_optimiser, train_epoch
from sknet import build_network
from sknet.spec import NetworkSpec

STEPS = {"cpu": 1, "cuda": 8}
"""Number of training steps that are timed together, so that a GPU need not synchronise after each.
"""


def place_network(network: NetworkSpec, device: torch.device) -> nn.Module:
    """Builds a network on a device in the memory layout of trials, always with equal weights."""
    built: nn.Module = build_network(network, generator=make_generator(0, "initialisation"))
    return built.to(device).to(memory_format=torch.channels_last)


def draw_data(dataset: Dataset, *, device: torch.device) -> Data:
    """Draws random images and labels, as many as the dataset has and in their shape."""
    generator = make_generator(0, "images")
    shape = (dataset.channels, dataset.image_size, dataset.image_size)
    train, test = (
        ArraySplit(
            images=torch.randint(256, (size, *shape), dtype=torch.uint8, generator=generator),
            labels=torch.randint(dataset.num_classes, (size,), generator=generator),
        ).to(device)
        for size in (dataset.train_size, dataset.test_size)
    )
    return Data(dataset=dataset, train=train, test=test)


def make_epoch(
    network: nn.Module, data: Data, recipe: Recipe, *, device: torch.device
) -> Callable[[], object]:
    """A function that trains on every full batch once; it returns when the device has finished."""
    optimiser = build_optimiser(network, recipe)
    shuffle = make_generator(0, "shuffle")
    augmentation = build_augmentation(
        recipe,
        generator=make_generator(0, "augmentation"),
        distortion=make_generator(0, "distortion"),
    )
    return lambda: train_epoch(
        network,
        optimiser,
        data,
        recipe,
        epoch=0,
        shuffle=shuffle,
        augmentation=augmentation,
        device=device,
    )
