"""A folder of images, decoded, cropped and flipped in batches by worker processes."""

import math
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils import data as torch_data

from ablations.data.batches import ALONE, Augmentation, Replica
from ablations.data.catalogue import CROP_SCALE, Crop
from ablations.data.identification import Listing
from ablations.errors import MachineError

SHORTER_SIDE = 256 / 224
"""Shorter side of a resized test image relative to its centre crop: 256 for 224, as in the papers.
A crop of 320 is taken at the same scale, from 366 pixels, since it does not fit into 256."""

CROP_RATIO = (3 / 4, 4 / 3)
"""Range of the width of a `resized` crop relative to its height; its logarithm is uniform."""

FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP", "GIF")
"""Formats that are read, whatever the file is called; others may start external programs."""

LARGEST_RATIO = 100
"""Largest ratio of an image's sides: the shorter one is resized to hundreds of pixels."""

Key = tuple[list[int], Sequence[int | None]]
"""A batch to decode: indices, and one seed per image; None for images that are not augmented."""


@dataclass(frozen=True, kw_only=True)
class FolderSplit:
    """A split whose images are files."""

    root: Path
    """The folder."""

    paths: NDArray[np.bytes_]
    """(N,), paths of the images relative to the folder."""

    labels: NDArray[np.int64]
    """(N,)"""

    image_size: int
    """Side of the crops in pixels."""

    workers: int
    """Processes that decode; 0 decodes in this one. Batches do not depend on it."""

    @property
    def object_sizes(self) -> None:
        """Unknown."""

    def permute_labels(self, order: Tensor) -> "FolderSplit":
        """See `Split`."""
        return replace(self, labels=self.labels[order.numpy()])

    def __len__(self) -> int:
        return len(self.labels)

    def iterate(
        self,
        batches: Sequence[Tensor],
        *,
        device: torch.device,
        augmentation: Augmentation | None = None,
        replica: Replica = ALONE,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Split`; each image is augmented from its own seed.

        Raises:
            MachineError: If an image is unreadable.
        """
        loader: torch_data.DataLoader[Any] = torch_data.DataLoader(
            _Decoder(self, augmentation),
            batch_size=None,  # each item of the decoder is a batch
            sampler=_list_keys(batches, augmentation, replica),
            num_workers=self.workers,
            collate_fn=_keep,
            pin_memory=device.type == "cuda",
            # Forking could hang: this process may have threads and use a GPU.
            multiprocessing_context=_choose_context() if self.workers else None,
            generator=torch.Generator(),  # by default it draws from the global one
        )
        for batch in loader:
            if isinstance(batch, MachineError):
                raise batch
            images, labels = batch
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


class _Decoder(torch_data.Dataset[Any]):
    """Decodes a batch of files; runs in the worker processes."""

    def __init__(self, split: FolderSplit, augmentation: Augmentation | None) -> None:
        self._split = split
        # Not the generator, which cannot be sent to a worker.
        self._crop: Crop = augmentation.crop if augmentation else "none"
        self._crop_scale = augmentation.crop_scale if augmentation else CROP_SCALE
        self._flip = augmentation is not None and augmentation.flip

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor] | MachineError:
        """Returns a fault; raised in a worker, it would be wrapped in a stack trace."""
        indices, seeds = key
        try:
            images = [self._decode(i, seed) for i, seed in zip(indices, seeds, strict=True)]
        except MachineError as error:
            return error
        return torch.cat(images), torch.from_numpy(self._split.labels[indices])

    def _decode(self, index: int, seed: int | None) -> Tensor:
        image = read_image(self._split.root / os.fsdecode(bytes(self._split.paths[index])))
        size = self._split.image_size
        if seed is None:
            return crop_centre(image, size)
        generator = torch.Generator().manual_seed(seed)
        return augment_image(
            image,
            size,
            crop=self._crop,
            crop_scale=self._crop_scale,
            flip=self._flip,
            generator=generator,
        )


def build_splits(
    arrays: dict[str, NDArray[Any]], *, image_size: int, workers: int
) -> dict[str, FolderSplit]:
    """The training split, and the test split at both sizes, from the result of `list_arrays`."""
    sizes = {"train": image_size, "test": image_size, "test_320": 320}
    return {
        name: FolderSplit(
            root=Path(os.fsdecode(arrays["root"].item())),
            paths=arrays[f"{name.partition('_')[0]}_paths"],
            labels=arrays[f"{name.partition('_')[0]}_labels"],
            image_size=size,
            workers=workers,
        )
        for name, size in sizes.items()
    }


def list_arrays(root: Path, listing: Listing) -> dict[str, NDArray[Any]]:
    """A listing as arrays; they are mapped, so that workers need not list the folder again."""
    arrays: dict[str, NDArray[Any]] = {"root": np.array(os.fsencode(root.resolve()))}
    labels = {name: label for label, name in enumerate(listing.classes)}
    for split, paths in (("train", listing.train), ("test", listing.test)):
        arrays[f"{split}_paths"] = np.array([os.fsencode(path) for path in paths])
        arrays[f"{split}_labels"] = np.array([labels[path.split("/")[1]] for path in paths])
    return arrays


def read_image(path: Path) -> Image.Image:
    """Decodes an image to RGB.

    Raises:
        MachineError: If it cannot be read.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            if max(file.size) > LARGEST_RATIO * min(file.size):  # before it is decoded
                raise ValueError(f"sides of {file.width} and {file.height} pixels")
            file.load()
            return file if file.mode == "RGB" else file.convert("RGB")  # which would copy it
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MachineError(
            f"{path} must be a readable image, got {type(error).__name__}: {error}. Copy it again."
        ) from error


def augment_image(
    image: Image.Image,
    size: int,
    *,
    crop: Crop,
    crop_scale: float = CROP_SCALE,
    flip: bool,
    generator: torch.Generator,
) -> Tensor:
    """Crops an image, resizes the crop, and may flip it.

    Shapes:
        (1, 3, size, size) uint8, channels_last
    """
    if crop == "resized":
        box = draw_crop(image.width, image.height, generator, scale=crop_scale)
        pixels = _resize(image.crop(box), size, size)
    else:
        pixels = crop_centre(image, size)
    if flip and torch.rand(1, generator=generator).item() < 0.5:
        return pixels.flip(3)
    return pixels


def draw_crop(
    width: int,
    height: int,
    generator: torch.Generator,
    *,
    scale: float = CROP_SCALE,
    tries: int = 10,
) -> tuple[int, int, int, int]:
    """Draws left, top, right and bottom of a crop as torchvision's `RandomResizedCrop` does.

    Its area is at least `scale` of the image's. If no crop fits into the image, it is the largest
    one at the centre whose ratio is allowed.
    """
    low, high = map(math.log, CROP_RATIO)
    for _ in range(tries):
        area = width * height * torch.empty(1).uniform_(scale, 1, generator=generator).item()
        ratio = torch.empty(1).uniform_(low, high, generator=generator).exp().item()
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(height - h + 1, (1,), generator=generator))
            left = int(torch.randint(width - w + 1, (1,), generator=generator))
            return left, top, left + w, top + h
    w = min(width, round(height * CROP_RATIO[1]))
    h = min(height, round(width / CROP_RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def crop_centre(image: Image.Image, size: int) -> Tensor:
    """Resizes an image to the papers' scale, then takes the square at its centre.

    Shapes:
        (1, 3, size, size) uint8, channels_last
    """
    shorter = compute_shorter_side(size)
    width, height = (shorter * side // min(image.size) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return _resize(image, width, height)[:, :, top : top + size, left : left + size]


def compute_shorter_side(size: int) -> int:
    """Shorter side in pixels of a resized test image, given the side of its centre crop.

    >>> compute_shorter_side(224), compute_shorter_side(320)
    (256, 366)
    """
    return round(size * SHORTER_SIDE)


def _resize(image: Image.Image, width: int, height: int) -> Tensor:
    """Resizes with antialiasing: equal to PIL's but for rounding, and several times faster.

    Shapes:
        (1, 3, height, width) uint8, channels_last
    """
    pixels = torch.from_numpy(np.array(image))[None].permute(0, 3, 1, 2)
    return interpolate(pixels, (height, width), mode="bilinear", antialias=True)


def _list_keys(
    batches: Sequence[Tensor], augmentation: Augmentation | None, replica: Replica
) -> list[Key]:
    if augmentation is None:
        return [(own.tolist(), [None] * len(own)) for own in map(replica.take, batches)]
    return [
        (
            replica.take(indices).tolist(),
            replica.take(
                torch.randint(2**62, (len(indices),), generator=augmentation.generator)
            ).tolist(),
        )
        for indices in batches
    ]


def _choose_context() -> multiprocessing.context.BaseContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once rather than by every worker
    return context


def _keep(batch: Any) -> Any:
    return batch
