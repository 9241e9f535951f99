"""Whole batches as tensors: selected, augmented and normalised on the training device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from ablations.data.catalogue import Crop, Dataset


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of training images."""

    crop: Crop
    """Random crop."""

    padding: int
    """Pixels of padding of the crop `pad`."""

    flip: bool
    """Whether images are mirrored left to right with probability one half."""

    generator: torch.Generator
    """Source of all random numbers, on the CPU."""


class Split(Protocol):
    """Images and labels of one part of a dataset, wherever they are stored."""

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that `iterate` yields."""

    def __len__(self) -> int: ...

    def iterate(
        self,
        batches: Sequence[Tensor],
        *,
        device: torch.device,
        augmentation: Augmentation | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the images and labels of each batch of indices, on `device`.

        Shapes:
            (N, C, H, W) uint8, and (N,) int64
        """


@dataclass(frozen=True, kw_only=True)
class ArraySplit:
    """A split whose images are one array, in memory or mapped from disk."""

    images: Tensor
    """(N, C, H, W), uint8."""

    labels: Tensor
    """(N,), uint8."""

    @property
    def image_size(self) -> int:
        """Side in pixels."""
        return self.images.shape[-1]

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "ArraySplit":
        """The same images on `device`."""
        return ArraySplit(images=self.images.to(device), labels=self.labels.to(device))

    def iterate(
        self,
        batches: Sequence[Tensor],
        *,
        device: torch.device,
        augmentation: Augmentation | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Split`; images are augmented on the device."""
        for indices in batches:
            where = indices.to(self.labels.device)
            images = self.images[where].to(device, non_blocking=True)
            labels = self.labels[where].to(device, non_blocking=True).long()
            if augmentation is not None:
                images = augment(images, augmentation)
            yield images, labels


@dataclass(frozen=True, kw_only=True)
class Data:
    """A dataset, ready to train on."""

    dataset: Dataset
    """Its facts."""

    train: Split
    """Training images."""

    test: Split
    """Images that errors are measured on."""

    test_320: Split | None = None
    """The test images at 320x320 pixels; None if they are smaller than that."""


def iterate_train_batches(
    data: Data,
    *,
    batch_size: int,
    augmentation: Augmentation,
    shuffle: torch.Generator,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields each training image once, shuffled and augmented; drops a smaller last batch.

    All random numbers are drawn on the CPU, so that every device sees the same batches.

    Shapes:
        (N, C, H, W) float32 in channels_last, and (N,) int64
    """
    order = torch.randperm(len(data.train), generator=shuffle)
    whole = [batch for batch in torch.split(order, batch_size) if len(batch) == batch_size]
    for images, labels in data.train.iterate(whole, device=device, augmentation=augmentation):
        yield normalise(images, data.dataset), labels


def iterate_test_batches(
    split: Split, dataset: Dataset, *, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields all images of a split in order, normalised like those of `iterate_train_batches`."""
    batches = torch.split(torch.arange(len(split)), batch_size)
    for images, labels in split.iterate(batches, device=device):
        yield normalise(images, dataset), labels


def augment(images: Tensor, augmentation: Augmentation) -> Tensor:
    """Crops and flips each image of a batch; `resized` crops are taken while decoding.

    Shapes:
        images: (N, C, H, W) -> (N, C, H, W)
    """
    if augmentation.crop == "pad":
        images = crop_padded(images, augmentation.padding, augmentation.generator)
    if augmentation.flip:
        images = flip_some(images, augmentation.generator)
    return images


def crop_padded(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Pads with black, then crops each image back to its size at a random position.

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
    """Converts bytes to floats of mean 0 and standard deviation 1 over the training images.

    Shapes:
        images: (N, C, H, W) uint8 -> (N, C, H, W) float32, channels_last
    """
    mean = torch.tensor(dataset.mean, device=images.device).view(1, -1, 1, 1) * 255
    std = torch.tensor(dataset.std, device=images.device).view(1, -1, 1, 1) * 255
    floats = images.to(torch.float32, memory_format=torch.channels_last)
    return floats.sub_(mean).div_(std)
