"""Measurement of throughput: trains and evaluates a network on random images for a moment."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from ablations.errors import MachineError
from ablations.estimate.throughput import Throughput
from ablations.plans import TrialSpec
from ablations.speed.workload import STEPS, draw_data, make_epoch, place_network
from ablations.trial.evaluation import evaluate
from ablations.trial.run import one_thread

MOST_PIXELS = {"cpu": 4 * 224**2, "cuda": 64 * 224**2}
"""Maximum number of pixels per step: 4 images of 224x224 on a processor, 64 on a GPU."""
LIMIT_SECONDS = 1.5
"""Time limit for training and for evaluation, after one pass to warm up."""
FEWEST_PASSES = 3
"""Minimum number of passes, unless a single one exceeds the limit."""
FEWEST_IMAGES = 2
"""Minimum number of images per step, if a replica gets as many; many networks normalise one value
per image over the batch."""


def measure_throughput(spec: TrialSpec, kind: str, *, macs: int) -> Throughput:
    """Measures how many images per second a trial trains and evaluates.

    Runs the trial's own code on random images in memory, on a processor in a single thread. If a
    batch does not fit into a GPU's memory, it is halved until it does.

    Args:
        spec: The trial; its dataset is not read.
        kind: PyTorch's type of the device.
        macs: Multiply-adds of the network, to be stored with the measurement.

    Raises:
        MachineError: If not even the fewest images fit into the GPU's memory.
    """
    device = torch.device(kind)
    batch_size = min(spec.recipe.replica_batch_size, _limit_batch(spec, kind))
    with one_thread():
        while True:
            try:
                return _measure(spec, device, batch_size=batch_size, macs=macs)
            except torch.OutOfMemoryError as error:
                if batch_size <= FEWEST_IMAGES:
                    raise MachineError(
                        f"the network and a batch of {batch_size} do not fit into the free memory "
                        f"of {torch.cuda.get_device_name(device)}: {error}. Free some of it, or "
                        "use another GPU."
                    ) from error
            batch_size = max(FEWEST_IMAGES, batch_size // 2)


def _measure(spec: TrialSpec, device: torch.device, *, batch_size: int, macs: int) -> Throughput:
    recipe = spec.recipe.model_copy(update={"batch_size": batch_size})
    train_size, test_size = STEPS[device.type] * batch_size, _limit_batch(spec, device.type)
    dataset = replace(spec.dataset, train_size=train_size, test_size=test_size)
    data = draw_data(dataset, device=device)
    network = place_network(spec.network, device)
    train = make_epoch(network, data, recipe, device=device)
    test = partial(evaluate, network, data, recipe, device=device)
    return Throughput(
        macs=macs,
        batch_size=batch_size,
        train_images_per_second=train_size / _time(train, device),
        test_images_per_second=test_size / _time(test, device),
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
    return max(FEWEST_IMAGES, MOST_PIXELS[kind] // spec.dataset.image_size**2)
