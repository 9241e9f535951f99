"""Whole batches as tensors: picked, augmented and normalised on the training device."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from ablations.datasets import Dataset

Crop = Literal["none", "pad", "resized"]
"""Random crops: none; of the image padded with black; or of random size, resized (ImageNet)."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images and labels of one part of a dataset."""

    images: Tensor
    """(N, C, H, W), uint8."""

    labels: Tensor
    """(N,), uint8."""

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        """The same images on `device`."""
        return Split(images=self.images.to(device), labels=self.labels.to(device))

    def pick(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """The images and labels at `indices`, on `device`."""
        where = indices.to(self.labels.device)
        images, labels = self.images[where], self.labels[where]
        return (
            images.to(device, non_blocking=True),
            labels.to(device, non_blocking=True).long(),
        )


@dataclass(frozen=True, kw_only=True)
class Data:
    """A dataset, ready to train on."""

    dataset: Dataset
    """Its facts."""

    train: Split
    """What networks are trained on."""

    test: Split
    """What errors are measured on."""


def iterate_train_batches(
    data: Data,
    *,
    batch_size: int,
    crop_padding: int,
    flip: bool,
    shuffle: torch.Generator,
    augmentation: torch.Generator,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields each training image once, shuffled and augmented; a last smaller batch is left out.

    All random numbers are drawn on the CPU, so that every device sees the same batches.

    Shapes:
        (N, C, H, W) float32 in channels_last, and (N,) int64
    """
    order = torch.randperm(len(data.train), generator=shuffle)
    for indices in torch.split(order, batch_size):
        if len(indices) < batch_size:
            return
        images, labels = data.train.pick(indices, device)
        if crop_padding:
            images = crop_padded(images, crop_padding, augmentation)
        if flip:
            images = flip_some(images, augmentation)
        yield normalise(images, data.dataset), labels


def iterate_test_batches(
    data: Data, *, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields all test images in order, normalised, as `iterate_train_batches` does."""
    for indices in torch.split(torch.arange(len(data.test)), batch_size):
        images, labels = data.test.pick(indices, device)
        yield normalise(images, data.dataset), labels


def crop_padded(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Pads with black and crops each image back to its size at a place of its own.

    Shapes:
        images: (N, C, H, W) -> (N, C, H, W)
    """
    count, _, height, width = images.shape
    device = images.device
    corners = torch.randint(2 * padding + 1, (2, count, 1), generator=generator).to(device)
    rows = corners[0] + torch.arange(height, device=device)  # (N, H)
    columns = corners[1] + torch.arange(width, device=device)  # (N, W)
    which = torch.arange(count, device=device)[:, None, None]
    padded = pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    return padded[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flip_some(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors each image left to right with probability one half.

    Shapes:
        images: (N, C, H, W) -> (N, C, H, W)
    """
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device) < 0.5
    return torch.where(chosen, images.flip(3), images)


def normalise(images: Tensor, dataset: Dataset) -> Tensor:
    """Bytes to floats of mean 0 and standard deviation 1 over the training images.

    Shapes:
        images: (N, C, H, W) uint8 -> (N, C, H, W) float32, channels_last
    """
    mean = torch.tensor(dataset.mean, device=images.device).view(1, -1, 1, 1) * 255
    std = torch.tensor(dataset.std, device=images.device).view(1, -1, 1, 1) * 255
    floats = images.to(torch.float32, memory_format=torch.channels_last)
    return floats.sub_(mean).div_(std)
