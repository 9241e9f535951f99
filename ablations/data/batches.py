"""Whole batches as tensors: selected, augmented and normalised on the training device."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from ablations.data.catalogue import CROP_SCALE, Crop, CropFill, Dataset


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One of several processes that train a network together, each on its part of every batch."""

    rank: int = 0
    """Which one, from 0."""

    count: int = 1
    """Number of processes; it divides the batch size."""

    @property
    def is_first(self) -> bool:
        """Whether it is the one that reports."""
        return self.rank == 0

    def take(self, values: Tensor, *, dim: int = 0) -> Tensor:
        """This replica's part of the values of a whole batch, of which `dim` counts the images.

        Random numbers are drawn for a whole batch before, so that each image gets the same ones
        whatever the number of replicas.

        >>> Replica(rank=1, count=2).take(torch.arange(6))
        tensor([3, 4, 5])
        """
        return values.chunk(self.count, dim)[self.rank]


ALONE = Replica()
"""The only process of a trial."""


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """Random changes of the geometry and colour of training images, after crop and flip."""

    rotation: float
    """Largest angle of a rotation about the centre, in degrees; corners get the mean colour."""

    pixel_jitter: float
    """Largest shift of a channel's values, in grey levels of 0 to 255. The values are not clipped
    to that range."""

    generator: torch.Generator
    """Source of its random numbers, on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of training images."""

    crop: Crop
    """Random crop."""

    padding: int
    """Pixels of padding of the crop `pad`."""

    crop_fill: CropFill = "black"
    """Colour of the padding of the crop `pad`."""

    crop_scale: float = CROP_SCALE
    """Smallest area of the crop `resized` relative to the image."""

    flip: bool
    """Whether images are mirrored left to right with probability one half."""

    generator: torch.Generator
    """Source of the random numbers of crops and flips, on the CPU."""

    distortion: Distortion | None = None
    """Further changes, with random numbers of their own."""


class Split(Protocol):
    """Images and labels of one part of a dataset, wherever they are stored."""

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that `iterate` yields."""

    @property
    def object_sizes(self) -> Tensor | None:
        """(N,): side in pixels of the object in each image; None if unknown."""

    def __len__(self) -> int: ...

    def permute_labels(self, order: Tensor) -> Self:
        """The same images, each with the label of the image whose index is at its place."""

    def iterate(
        self,
        batches: Sequence[Tensor],
        *,
        device: torch.device,
        augmentation: Augmentation | None = None,
        replica: Replica = ALONE,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the images and labels of a replica's part of each batch of indices, on `device`.

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

    object_sizes: Tensor | None = None
    """(N,), uint8: side in pixels of the object in each image; None if unknown."""

    @property
    def image_size(self) -> int:
        """Side in pixels."""
        return self.images.shape[-1]

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "ArraySplit":
        """The same images on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def permute_labels(self, order: Tensor) -> "ArraySplit":
        """See `Split`."""
        return replace(self, labels=self.labels[order.to(self.labels.device)])

    def iterate(
        self,
        batches: Sequence[Tensor],
        *,
        device: torch.device,
        augmentation: Augmentation | None = None,
        replica: Replica = ALONE,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Split`; images are augmented on the device."""
        for indices in batches:
            where = replica.take(indices).to(self.labels.device)
            images = self.images.index_select(0, where).to(device, non_blocking=True)
            labels = self.labels.index_select(0, where).to(device, non_blocking=True).long()
            if augmentation is not None:
                images = augment(images, augmentation, replica)
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
    replica: Replica = ALONE,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields each training image once, shuffled and augmented; drops a smaller last batch.

    All random numbers are drawn on the CPU, so that every device sees the same batches. The parts
    of several replicas together are the batches of one process, with the same random numbers.

    Args:
        data: The dataset.
        batch_size: Images per batch of all replicas together.
        augmentation: Random changes of the images.
        shuffle: Random generator for the order of images.
        device: Where the batches are used.
        replica: Which part of each batch to yield.

    Shapes:
        (N, C, H, W) float32 in channels_last, and (N,) int64
    """
    order = torch.randperm(len(data.train), generator=shuffle)
    whole = [batch for batch in torch.split(order, batch_size) if len(batch) == batch_size]
    crops_late = augmentation.crop_fill == "mean"  # the mean is 0 only after normalisation
    first = replace(augmentation, crop="none", flip=False) if crops_late else augmentation
    for images, labels in data.train.iterate(
        whole, device=device, augmentation=first, replica=replica
    ):
        floats = normalise(images, data.dataset)
        if crops_late:
            floats = augment(floats, augmentation, replica)
        if augmentation.distortion is not None:
            std = data.dataset.std
            floats = distort(floats, augmentation.distortion, std=std, replica=replica)
        yield floats.contiguous(memory_format=torch.channels_last), labels


def iterate_test_batches(
    split: Split,
    dataset: Dataset,
    *,
    batch_size: int,
    device: torch.device,
    replica: Replica = ALONE,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields all images of a split in order, normalised like those of `iterate_train_batches`.

    Of several replicas, each gets every `replica.count`-th batch.
    """
    batches = torch.split(torch.arange(len(split)), batch_size)[replica.rank :: replica.count]
    for images, labels in split.iterate(batches, device=device):
        yield normalise(images, dataset), labels


def augment(images: Tensor, augmentation: Augmentation, replica: Replica = ALONE) -> Tensor:
    """Crops and flips each image of a batch; `resized` crops are taken while decoding.

    Shapes:
        images: (N, C, H, W) -> (N, C, H, W)
    """
    if augmentation.crop == "pad":
        generator = augmentation.generator
        images = crop_padded(images, augmentation.padding, generator, replica=replica)
    if augmentation.flip:
        images = flip_some(images, augmentation.generator, replica)
    return images


def crop_padded(
    images: Tensor, padding: int, generator: torch.Generator, *, replica: Replica = ALONE
) -> Tensor:
    """Pads with 0, then crops each image back to its size at a random position.

    Shapes:
        images: (N, C, H, W) -> (N, C, H, W)
    """
    whole = len(images) * replica.count
    corners = torch.randint(2 * padding + 1, (2, whole), generator=generator)
    corners = replica.take(corners, dim=1)
    padded = pad(images, (padding,) * 4)
    image, *steps = padded.stride()
    span = sum((n - 1) * step for n, step in zip(images.shape[1:], steps, strict=True))
    # All windows that start anywhere in memory; they overlap, and nothing is copied yet.
    windows = padded.as_strided((padded.numel() - span, *images.shape[1:]), (1, *steps))
    starts = torch.arange(len(images)) * image + corners[0] * steps[1] + corners[1] * steps[2]
    return windows.index_select(0, starts.to(images.device))


def flip_some(images: Tensor, generator: torch.Generator, replica: Replica = ALONE) -> Tensor:
    """Mirrors each image left to right with probability one half.

    Shapes:
        images: (N, C, H, W) -> (N, C, H, W)
    """
    count = len(images)
    is_mirrored = replica.take(torch.rand(count * replica.count, generator=generator) < 0.5)
    which = torch.arange(count) + count * is_mirrored
    return torch.cat([images, images.flip(3)]).index_select(0, which.to(images.device))


def distort(
    images: Tensor,
    distortion: Distortion,
    *,
    std: tuple[float, ...],
    replica: Replica = ALONE,
) -> Tensor:
    """Rotates each normalised image, and shifts the values of each of its channels.

    Angles and shifts are uniform, up to the given sizes in both directions.

    Shapes:
        images: (N, C, H, W) -> (N, C, H, W), where H = W
    """
    whole, channels = len(images) * replica.count, images.shape[1]
    if distortion.rotation > 0:
        angles = _draw_symmetric((whole,), distortion.rotation, distortion.generator)
        images = rotate(images, replica.take(angles))
    if distortion.pixel_jitter > 0:
        sizes = (whole, channels, 1, 1)
        shifts = _draw_symmetric(sizes, distortion.pixel_jitter / 255, distortion.generator)
        shifts = replica.take(shifts)
        images = images + (shifts / torch.tensor(std).view(1, -1, 1, 1)).to(images.device)
    return images


def rotate(images: Tensor, angles: Tensor) -> Tensor:
    """Rotates each image counter-clockwise about its centre, by angles in degrees.

    Pixels are interpolated bilinearly; those from outside of the image are 0.

    Shapes:
        images: (N, C, H, W); angles: (N,) -> (N, C, H, W), where H = W
    """
    cos, sin = angles.deg2rad().cos(), angles.deg2rad().sin()
    zero = torch.zeros_like(cos)
    # Maps places of the result to places of the image; the y axis points downwards.
    matrices = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    grid = affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)


def _draw_symmetric(size: tuple[int, ...], limit: float, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(size, generator=generator) - 1) * limit


def normalise(images: Tensor, dataset: Dataset) -> Tensor:
    """Converts bytes to floats of mean 0 and standard deviation 1 over the training images.

    Shapes:
        images: (N, C, H, W) uint8 -> (N, C, H, W) float32, channels_last
    """
    memory_format = (
        torch.channels_last
        if images.is_contiguous(memory_format=torch.channels_last)
        else torch.contiguous_format
    )
    mean, std = (
        _fill_image(values, images.shape[2:], memory_format=memory_format, device=images.device)
        for values in (dataset.mean, dataset.std)
    )
    floats = images.to(torch.float32, memory_format=memory_format).sub_(mean).div_(std)
    return floats.contiguous(memory_format=torch.channels_last)


@functools.cache
def _fill_image(
    values: tuple[float, ...],
    size: torch.Size,
    *,
    memory_format: torch.memory_format,
    device: torch.device,
) -> Tensor:
    """One value per channel as a whole image in the layout of a batch, the fastest to combine."""
    channels = torch.tensor(values, device=device).view(1, -1, 1, 1) * 255
    return channels.expand(1, -1, *size).contiguous(memory_format=memory_format)
