"""A folder of images, decoded, cropped and flipped in batches by worker processes."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils import data as torch_data

from ablations.data.batches import Augmentation
from ablations.data.identification import Listing
from ablations.errors import MachineError

SHORTER_SIDE = 256 / 224
"""Shorter side of a resized test image relative to its centre crop: 256 for 224, as in the papers.
A crop of 320 is taken at the same scale, from 366 pixels, since it does not fit into 256."""

Transform = Callable[[Image.Image], Tensor]

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

    def __len__(self) -> int:
        return len(self.labels)

    def iterate(
        self,
        batches: Sequence[Tensor],
        *,
        device: torch.device,
        augmentation: Augmentation | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Split`; each image is augmented from its own seed.

        Raises:
            MachineError: If an image is unreadable.
        """
        loader: torch_data.DataLoader[Any] = torch_data.DataLoader(
            _Decoder(self, build_transform(self.image_size, augmentation)),
            batch_size=None,  # each item of the decoder is a batch
            sampler=_list_keys(batches, augmentation),
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

    def __init__(self, split: FolderSplit, transform: Transform) -> None:
        self._split = split
        self._transform = transform

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor] | MachineError:
        """Returns a fault; raised in a worker, it would be wrapped in a stack trace."""
        indices, seeds = key
        try:
            images = [self._decode(i, seed) for i, seed in zip(indices, seeds, strict=True)]
        except MachineError as error:
            return error
        return torch.stack(images), torch.from_numpy(self._split.labels[indices])

    def _decode(self, index: int, seed: int | None) -> Tensor:
        image = read_image(self._split.root / os.fsdecode(bytes(self._split.paths[index])))
        if seed is None:
            return self._transform(image)
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.default_generator.manual_seed(seed)
            return self._transform(image)


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
        with Image.open(path) as file:
            return file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MachineError(
            f"{path} must be a readable image, got {type(error).__name__}: {error}. Copy it again."
        ) from error


def build_transform(image_size: int, augmentation: Augmentation | None) -> Transform:
    """Maps an image to (3, image_size, image_size) uint8: augmented, or the centre crop if None."""
    from torchvision.transforms import v2  # seconds to import, and needed only for folders

    if augmentation is not None and augmentation.crop == "resized":
        steps = [v2.RandomResizedCrop(image_size, antialias=True)]
    else:
        steps = [
            v2.Resize(round(image_size * SHORTER_SIDE), antialias=True),
            v2.CenterCrop(image_size),
        ]
    if augmentation is not None and augmentation.flip:
        steps.append(v2.RandomHorizontalFlip())
    transform: Transform = v2.Compose([*steps, v2.PILToTensor()])
    return transform


def _list_keys(batches: Sequence[Tensor], augmentation: Augmentation | None) -> list[Key]:
    if augmentation is None:
        return [(indices.tolist(), [None] * len(indices)) for indices in batches]
    return [
        (
            indices.tolist(),
            torch.randint(2**62, (len(indices),), generator=augmentation.generator).tolist(),
        )
        for indices in batches
    ]


def _choose_context() -> multiprocessing.context.BaseContext:
    context = multiprocessing.get_context("forkserver")
    # Imported once rather than by every worker; transforms need torchvision.
    context.set_forkserver_preload([__name__, "torchvision.transforms.v2"])
    return context


def _keep(batch: Any) -> Any:
    return batch
