"""Trains a few steps on random images, as a trial would, and takes the time."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from ablations.config import Recipe
from ablations.data import ArraySplit, Data
from ablations.datasets import Dataset
from ablations.errors import MachineError
from ablations.evaluation import evaluate
from ablations.plan import TrialSpec
from ablations.pricing.throughput import Throughput
from ablations.training import build_optimiser, train_epoch
from ablations.trial import make_generator
from sknet import build_network

MOST_PIXELS = {"cpu": 4 * 224**2, "cuda": 64 * 224**2}
"""Most pixels in a step: 4 images of 224x224 on a processor, 64 on a GPU."""
STEPS = {"cpu": 1, "cuda": 8}
"""Steps that are timed together, so that a GPU is not made to wait for each."""
LIMIT_SECONDS = 1.5
"""Time for each of training and evaluation, after one pass to warm up."""
FEWEST_PASSES = 3
"""Passes that are timed even beyond the limit, if they are not as long as that themselves."""


def measure_throughput(spec: TrialSpec, kind: str, *, macs: int) -> Throughput:
    """How many images a second the network of `spec` trains on, and is evaluated on.

    It is the trial's own epoch, on random images that are in memory: in one thread on a processor.
    Where a GPU's memory is too small for the batch, half of it is tried.

    Args:
        spec: What to train; nothing of its dataset but the shape is needed.
        kind: PyTorch's word for the device.
        macs: Multiply-adds of the network, which are kept with the measurement.

    Raises:
        MachineError: If not even one image fits into a GPU's memory.
    """
    device = torch.device(kind)
    batch_size = min(spec.recipe.batch_size, _limit_batch(spec, kind))
    with one_thread():
        while True:
            try:
                return _measure(spec, device, batch_size=batch_size, macs=macs)
            except torch.OutOfMemoryError as error:
                if batch_size == 1:
                    raise MachineError(
                        f"{torch.cuda.get_device_name(device)} must hold the network and one image "
                        f"in its free memory, got: {error}. Free it, or use another GPU."
                    ) from error
            batch_size //= 2


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch in one thread, as in trials; afterwards as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measure(spec: TrialSpec, device: torch.device, *, batch_size: int, macs: int) -> Throughput:
    recipe = spec.recipe.model_copy(update={"batch_size": batch_size})
    train_size, test_size = STEPS[device.type] * batch_size, _limit_batch(spec, device.type)
    data = _draw_data(spec.dataset, train_size=train_size, test_size=test_size, device=device)
    network: nn.Module = build_network(spec.network, generator=make_generator(0, "price"))
    network = network.to(device).to(memory_format=torch.channels_last)
    train = _make_epoch(network, data, recipe, device)
    test = partial(evaluate, network, data, recipe, device=device)
    return Throughput(
        macs=macs,
        batch_size=batch_size,
        train_images_per_second=train_size / _time(train, device),
        test_images_per_second=test_size / _time(test, device),
    )


def _make_epoch(
    network: nn.Module, data: Data, recipe: Recipe, device: torch.device
) -> Callable[[], object]:
    optimiser = build_optimiser(network, recipe)
    generators = [make_generator(0, purpose) for purpose in ("shuffle", "augmentation")]
    return lambda: train_epoch(
        network,
        optimiser,
        data,
        recipe,
        epoch=0,
        shuffle=generators[0],
        augmentation=generators[1],
        device=device,
    )


def _time(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call: the median of a few, or the first if that alone is beyond the limit.

    On a processor it is the time that a core works on it, whatever else the machine does meanwhile.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begun = time.perf_counter()
    seconds: list[float] = []
    while len(seconds) <= FEWEST_PASSES or time.perf_counter() - begun < LIMIT_SECONDS:
        started = clock()
        run()  # an epoch and an evaluation end by reading a number, so a GPU has ended too
        seconds.append(clock() - started)
        if seconds[0] > LIMIT_SECONDS:
            return seconds[0]
    return statistics.median(seconds[1:])  # the first warmed up


def _limit_batch(spec: TrialSpec, kind: str) -> int:
    return max(1, MOST_PIXELS[kind] // spec.dataset.image_size**2)


def _draw_data(dataset: Dataset, *, train_size: int, test_size: int, device: torch.device) -> Data:
    """Random images and labels of the dataset's shape."""
    generator = make_generator(0, "images")
    shape = (dataset.channels, dataset.image_size, dataset.image_size)
    train, test = (
        ArraySplit(
            images=torch.randint(256, (size, *shape), dtype=torch.uint8, generator=generator),
            labels=torch.randint(dataset.num_classes, (size,), generator=generator),
        ).to(device)
        for size in (train_size, test_size)
    )
    return Data(dataset=dataset, train=train, test=test)
