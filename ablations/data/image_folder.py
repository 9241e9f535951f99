"""A folder of images: decoded, cropped and flipped by worker processes, batch by batch."""

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

from ablations.config import Recipe
from ablations.data.batches import Augmentation
from ablations.data.identification import Listing
from ablations.errors import MachineError

SHORTER_SIDE = 256 / 224
"""Shorter side of a test image in units of its centre crop: the papers' 256 for 224. A crop of 320
is taken at the same scale, from 366 pixels, since one of 256 pixels does not hold it."""

Key = tuple[list[int], Sequence[int | None]]
"""A batch that is asked for: indices, and a seed for each image, None if it is not augmented."""


@dataclass(frozen=True, kw_only=True)
class FolderSplit:
    """A split whose images are files."""

    root: Path
    """The folder."""

    paths: NDArray[np.bytes_]
    """(N,), the images' paths below it."""

    labels: NDArray[np.int64]
    """(N,)"""

    image_size: int
    """Side in pixels of the crops."""

    workers: int
    """Processes that decode; 0 for this one. Batches do not depend on it."""

    def __len__(self) -> int:
        return len(self.labels)

    def iterate(
        self,
        batches: Sequence[Tensor],
        *,
        device: torch.device,
        augmentation: Augmentation | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Split` says; each image is augmented from a seed of its own.

        Raises:
            MachineError: If an image is unreadable.
        """
        loader: torch_data.DataLoader[Any] = torch_data.DataLoader(
            _Decoder(self, None if augmentation is None else augmentation.recipe),
            batch_size=None,  # an item of the decoder is a batch
            sampler=_list_keys(batches, augmentation),
            num_workers=self.workers,
            collate_fn=_keep,
            pin_memory=device.type == "cuda",
            # Forking this process, which may have threads and a GPU, could hang.
            multiprocessing_context=_choose_context() if self.workers else None,
            generator=torch.Generator(),  # else it draws from the global one
        )
        for batch in loader:
            if isinstance(batch, MachineError):
                raise batch
            images, labels = batch
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


class _Decoder(torch_data.Dataset[Any]):
    """Files -> a batch; lives in the worker processes."""

    def __init__(self, split: FolderSplit, recipe: Recipe | None) -> None:
        self._split = split
        self._transform = build_transform(split.image_size, recipe)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor] | MachineError:
        """A fault is returned: raised in a worker it would be wrapped in its stack trace."""
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
    """The training split, and the test split at both sizes, from what `list_arrays` made."""
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
    """A listing as arrays, which can be mapped: workers then need not list the folder again."""
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


def build_transform(image_size: int, recipe: Recipe | None) -> Callable[[Image.Image], Tensor]:
    """Image -> (3, image_size, image_size) uint8: augmented, or the centre crop if None."""
    from torchvision.transforms import v2  # seconds to import, and only needed for folders

    if recipe is not None and recipe.crop == "resized":
        steps = [v2.RandomResizedCrop(image_size, antialias=True)]
    else:
        steps = [
            v2.Resize(round(image_size * SHORTER_SIDE), antialias=True),
            v2.CenterCrop(image_size),
        ]
    if recipe is not None and recipe.flip:
        steps.append(v2.RandomHorizontalFlip())
    transform: Callable[[Image.Image], Tensor] = v2.Compose([*steps, v2.PILToTensor()])
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
    # Imported once, not by every worker; torchvision is what transforms need.
    context.set_forkserver_preload([__name__, "torchvision.transforms.v2"])
    return context


def _keep(batch: Any) -> Any:
    return batch
