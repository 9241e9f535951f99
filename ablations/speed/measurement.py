"""Measures networks in turn: training and inference throughput, latency, and peak memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ablations.config import Recipe
from ablations.data.batches import Data, iterate_test_batches
from ablations.data.catalogue import Dataset
from ablations.errors import MachineError
from ablations.speed.benchmark import Conditions, Speed
from ablations.speed.memory import watch_memory
from ablations.speed.rounds import summarise_rounds, time_alternately
from ablations.speed.workload import STEPS, draw_data, make_epoch, place_network
from ablations.trial.run import use_threads
from ablations.trial.training import autocast
from sknet.spec import NetworkSpec

LEARNING_RATE = 1e-6
"""Keeps the weights close to their initial values, so that no training on noise diverges."""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A network that is ready to be measured."""

    network: nn.Module
    """The network, on the device."""

    data: Data
    """Random images, on the device."""

    images: Tensor
    """(N, C, H, W): a batch of these images, normalised, in channels_last."""

    memory: int
    """Peak memory of a training step in bytes."""


def measure_networks(
    networks: Mapping[str, NetworkSpec],
    recipe: Recipe,
    conditions: Conditions,
    *,
    device: torch.device,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Speed]:
    """Measures networks on random images in memory.

    Each quantity is measured in alternating rounds: every network once, then every network again.

    Args:
        networks: The networks by any key.
        recipe: How they are trained; only what affects speed is used.
        conditions: Size of the images, batch size, threads, rounds.
        device: Where to measure.
        advance: Called `count_steps` times, after each step of the measurement.

    Returns:
        Speeds by the same keys.

    Raises:
        MachineError: If the GPU's memory is too small for a batch.
    """
    recipe = recipe.model_copy(
        update={
            "batch_size": conditions.batch_size,
            "learning_rate": LEARNING_RATE,
            "crop": "none",
            "flip": False,
            "rotation": 0.0,
            "pixel_jitter": 0.0,
        }
    )
    try:
        with use_threads(conditions.threads):
            candidates = {}
            for key, network in networks.items():
                candidates[key] = _prepare(network, recipe, conditions, device)
                advance()
            return _measure(candidates, recipe, conditions, device=device, advance=advance)
    except torch.OutOfMemoryError as error:
        raise MachineError(
            f"--batch-size must fit into the free memory of {torch.cuda.get_device_name(device)}, "
            f"got {conditions.batch_size}: {error}. Pass a smaller one, or free some memory."
        ) from error


def count_steps(networks: int, rounds: int) -> int:
    """Number of steps in which networks are measured: memory once, three quantities per round."""
    return networks * (1 + 3 * rounds)


def _prepare(
    network: NetworkSpec, recipe: Recipe, conditions: Conditions, device: torch.device
) -> _Candidate:
    """Builds a network, and measures the memory of its second training step.

    The first step creates the momentum and the gradients.
    """
    single = _describe_images(network, conditions.image_size, count=conditions.batch_size)
    with watch_memory(device) as watch:
        built = place_network(network, device)
        step = make_epoch(built, draw_data(single, device=device), recipe, device=device)
        step()
        watch.reset()
        step()
        memory = watch.read_peak()
    built.zero_grad(set_to_none=True)
    count = STEPS[device.type] * conditions.batch_size
    data = draw_data(_describe_images(network, conditions.image_size, count=count), device=device)
    images, _ = next(
        iterate_test_batches(
            data.test, data.dataset, batch_size=conditions.batch_size, device=device
        )
    )
    return _Candidate(network=built, data=data, images=images, memory=memory)


def _measure(
    candidates: Mapping[str, _Candidate],
    recipe: Recipe,
    conditions: Conditions,
    *,
    device: torch.device,
    advance: Callable[[], object],
) -> dict[str, Speed]:
    time_all = partial(
        time_alternately,
        rounds=conditions.rounds,
        wait=partial(_wait, device),
        advance=advance,
    )
    train = time_all(
        {key: make_epoch(c.network, c.data, recipe, device=device) for key, c in candidates.items()}
    )
    for candidate in candidates.values():
        candidate.network.zero_grad(set_to_none=True)
        candidate.network.eval()
    forward = {key: partial(_infer, c.network, recipe, device) for key, c in candidates.items()}
    test = time_all({key: partial(forward[key], c.images) for key, c in candidates.items()})
    single = time_all({key: partial(forward[key], c.images[:1]) for key, c in candidates.items()})
    size = conditions.batch_size
    return {
        key: Speed(
            train_images_per_second=summarise_rounds(
                [STEPS[device.type] * size / seconds for seconds in train[key]]
            ),
            test_images_per_second=summarise_rounds([size / seconds for seconds in test[key]]),
            latency_ms=summarise_rounds([1000 * seconds for seconds in single[key]]),
            memory_mb=candidate.memory / 1e6,
        )
        for key, candidate in candidates.items()
    }


@torch.inference_mode()
def _infer(network: nn.Module, recipe: Recipe, device: torch.device, images: Tensor) -> None:
    with autocast(recipe.precision, device):
        network(images)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _describe_images(network: NetworkSpec, image_size: int, *, count: int) -> Dataset:
    """Random images that fit a network, as a dataset."""
    channels = network.in_channels
    return Dataset(
        name="random",
        channels=channels,
        image_size=image_size,
        num_classes=network.num_classes,
        train_size=count,
        test_size=count,
        mean=(0.5,) * channels,
        std=(0.3,) * channels,
    )
