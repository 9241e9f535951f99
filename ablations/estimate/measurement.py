"""Measurement of throughput: trains and evaluates a network on random images for a moment."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from ablations.config import Recipe
from ablations.data.batches import ArraySplit, Data
from ablations.data.catalogue import Dataset
from ablations.errors import MachineError
from ablations.estimate.throughput import Throughput
from ablations.plans import TrialSpec
from ablations.trial.evaluation import evaluate
from ablations.trial.run import make_generator, one_thread
from ablations.trial.training import build_optimiser, train_epoch
from sknet import build_network

MOST_PIXELS = {"cpu": 4 * 224**2, "cuda": 64 * 224**2}
"""Maximum number of pixels per step: 4 images of 224x224 on a processor, 64 on a GPU."""
STEPS = {"cpu": 1, "cuda": 8}
"""Number of steps timed together, so that a GPU need not synchronise after each."""
LIMIT_SECONDS = 1.5
"""Time limit for training and for evaluation, after one pass to warm up."""
FEWEST_PASSES = 3
"""Minimum number of passes, unless a single one exceeds the limit."""


def measure_throughput(spec: TrialSpec, kind: str, *, macs: int) -> Throughput:
    """Measures how many images per second a trial trains and evaluates.

    Runs the trial's own code on random images in memory, on a processor in a single thread. If a
    batch does not fit into a GPU's memory, it is halved until it does.

    Args:
        spec: The trial; its dataset is not read.
        kind: PyTorch's type of the device.
        macs: Multiply-adds of the network, to be stored with the measurement.

    Raises:
        MachineError: If not even a single image fits into the GPU's memory.
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
                        f"the network and one image do not fit into the free memory of "
                        f"{torch.cuda.get_device_name(device)}: {error}. Free some of it, or use "
                        "another GPU."
                    ) from error
            batch_size //= 2


def _measure(spec: TrialSpec, device: torch.device, *, batch_size: int, macs: int) -> Throughput:
    recipe = spec.recipe.model_copy(update={"batch_size": batch_size})
    train_size, test_size = STEPS[device.type] * batch_size, _limit_batch(spec, device.type)
    data = _draw_data(spec.dataset, train_size=train_size, test_size=test_size, device=device)
    network: nn.Module = build_network(spec.network, generator=make_generator(0, "initialisation"))
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
    """Seconds per call: the median of several, or the first if it alone exceeds the limit.

    On a processor this is CPU time, which does not depend on what else the machine is doing.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begun = time.perf_counter()
    seconds: list[float] = []
    while len(seconds) <= FEWEST_PASSES or time.perf_counter() - begun < LIMIT_SECONDS:
        started = clock()
        run()  # it ends by reading a number, which waits for the GPU
        seconds.append(clock() - started)
        if seconds[0] > LIMIT_SECONDS:
            return seconds[0]
    return statistics.median(seconds[1:])  # the first call is the warm-up


def _limit_batch(spec: TrialSpec, kind: str) -> int:
    return max(1, MOST_PIXELS[kind] // spec.dataset.image_size**2)


def _draw_data(dataset: Dataset, *, train_size: int, test_size: int, device: torch.device) -> Data:
    """Draws random images and labels in the shape of the dataset."""
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
