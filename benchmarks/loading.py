"""Input pipelines against torchvision's datasets and transforms in PyTorch's `DataLoader`."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from ablations.data import DATASETS, Crop, identify_dataset
from ablations.data.arrays import load_data, prepare_data
from ablations.data.batches import ArraySplit, Augmentation, Data, iterate_train_batches
from benchmarks.measurement import Measurement, time_alternately

CPU = torch.device("cpu")
PHOTOGRAPHS = 256

Batches = Iterable[Any]


def measure() -> list[Measurement]:
    """Measures a folder of photographs on one core, and small images in arrays."""
    with tempfile.TemporaryDirectory() as name:
        return [*measure_photographs(Path(name)), *measure_arrays(Path(name)), measure_batch()]


def measure_photographs(folder: Path) -> list[Measurement]:
    """JPEG files to batches of normalised random crops, on one core without worker processes."""
    dataset = replace(DATASETS["imagenet"], name="photographs")
    root = write_photographs(folder / dataset.name)
    found = identify_dataset(dataset, folder)
    prepare_data(found, data_dir=folder, cache_dir=folder)
    data = load_data(found, cache_dir=folder, device=CPU)
    crop = [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip()]
    floats = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(dataset.mean, dataset.std)]
    orders = {
        "torchvision on PIL images": [*crop, v2.ToImage(), *floats],
        "torchvision on tensors": [v2.ToImage(), *crop, *floats],
    }
    pipelines: dict[str, Batches] = {
        name: DataLoader(
            ImageFolder(str(root / "train"), transform=v2.Compose(steps)),
            batch_size=64,
            shuffle=True,
        )
        for name, steps in orders.items()
    }
    with use_one_thread():
        return compare(
            {"ours": Epochs(data, batch_size=64, crop="resized"), **pipelines},
            name="folder of JPEG photographs, 500x375, one core",
            images=PHOTOGRAPHS,
            goals={"torchvision on PIL images": 1.5},
            note="RandomResizedCrop(224), flip, normalise; batches of 64, no worker processes",
        )


def measure_arrays(folder: Path) -> list[Measurement]:
    """Images of the size and number of Fashion-MNIST, ours on one thread without workers."""
    dataset = DATASETS["fashion_mnist"]
    pixels, labels = draw_images(dataset.train_size, dataset.image_size)
    np.save(folder / "images.npy", pixels[:, None])
    split = ArraySplit(
        images=torch.from_numpy(np.load(folder / "images.npy", mmap_mode="c")),
        labels=torch.from_numpy(labels),
    )
    steps = [
        transforms.RandomCrop(28, padding=2),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(dataset.mean, dataset.std),
    ]
    peer = DataLoader(
        GreyImages(pixels, labels, transforms.Compose(steps)),
        batch_size=128,
        shuffle=True,
        drop_last=True,
        num_workers=2,
        persistent_workers=True,
    )
    data = Data(dataset=dataset, train=split, test=split)
    with use_one_thread():
        return compare(
            {"ours": Epochs(data, batch_size=128, crop="pad"), "torchvision, two workers": peer},
            name="60,000 grey images of 28x28 mapped from disk",
            images=len(peer) * 128,
            goals={"torchvision, two workers": 30},
            note="RandomCrop(28, padding=2), flip, normalise; batches of 128; ours on one thread",
        )


def measure_batch() -> Measurement:
    """One batch of the recipe `quick` on one thread, without a peer."""
    dataset = DATASETS["multiscale_digits"]
    pixels, labels = draw_images(dataset.train_size, dataset.image_size)
    split = ArraySplit(images=torch.from_numpy(pixels[:, None]), labels=torch.from_numpy(labels))
    epochs = Epochs(Data(dataset=dataset, train=split, test=split), batch_size=64, crop="pad")
    with use_one_thread():
        seconds = time_alternately({"ours": partial(exhaust, epochs)})["ours"]
    count = len(split) // 64
    return Measurement(
        name="batch of 64 grey images of 32x32, one thread",
        unit="ms",
        values=tuple(1000 * value / count for value in seconds),
        note="crop with padding 2, flip, normalise",
    )


class Epochs:
    """Our batches; each iteration is one epoch."""

    def __init__(self, data: Data, *, batch_size: int, crop: Crop) -> None:
        self._data = data
        self._batch_size = batch_size
        self._generator = torch.Generator().manual_seed(0)
        self._augmentation = Augmentation(
            crop=crop, padding=2, flip=True, generator=self._generator
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iterate_train_batches(
            self._data,
            batch_size=self._batch_size,
            augmentation=self._augmentation,
            shuffle=self._generator,
            device=CPU,
        )


class GreyImages(Dataset[Any]):
    """Images in memory, transformed one by one as `torchvision.datasets.FashionMNIST` does."""

    def __init__(
        self, pixels: NDArray[np.uint8], labels: NDArray[np.uint8], transform: transforms.Compose
    ) -> None:
        self._pixels = pixels
        self._labels = labels.tolist()
        self._transform = transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._pixels[index])), self._labels[index]


def compare(
    pipelines: Mapping[str, Batches],
    *,
    name: str,
    images: int,
    goals: Mapping[str, float],
    note: str,
) -> list[Measurement]:
    """Times whole epochs of `ours` and of its peers; one row per peer."""
    seconds = time_alternately({key: partial(exhaust, pipelines[key]) for key in pipelines})
    rates = {key: tuple(images / value for value in values) for key, values in seconds.items()}
    ours = rates.pop("ours")
    return [
        Measurement(
            name=name,
            unit="images/s",
            values=ours,
            peer=peer,
            peer_values=theirs,
            better="higher",
            goal=goals.get(peer),
            note=note,
        )
        for peer, theirs in rates.items()
    ]


def exhaust(batches: Batches) -> None:
    """Iterates over all batches."""
    for _ in batches:
        pass


def draw_images(count: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draws (count, size, size) pixels and labels of ten classes."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, size, size), dtype=np.uint8)
    return pixels, generator.integers(0, 10, count, dtype=np.uint8)


def write_photographs(root: Path) -> Path:
    """Writes JPEG files of two classes as train/CLASS/ and val/CLASS/, about 65 kB each."""
    for split, count in (("train", PHOTOGRAPHS), ("val", 2)):
        for index in range(count):
            path = root / split / f"class{index % 2}" / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_photograph(index).save(path, quality=90)
    return root


def draw_photograph(seed: int) -> Image.Image:
    """Draws 500x375 pixels of smooth noise at several scales with fine detail."""
    generator = np.random.default_rng(seed)
    pixels = np.full((375, 500, 3), 120.0)
    for width, strength in ((4, 70), (16, 30), (64, 14), (250, 9)):
        coarse = generator.normal(0, strength, (3, 3 * width // 4, width)).astype(np.float32)
        for channel, values in enumerate(coarse):
            pixels[..., channel] += Image.fromarray(values).resize(
                (500, 375), Image.Resampling.BICUBIC
            )
    pixels += generator.normal(0, 5, (375, 500, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Restricts PyTorch to one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
