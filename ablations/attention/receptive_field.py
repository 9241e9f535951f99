"""The effective receptive field of a unit: which pixels move the centre of its output.

Luo et al., Understanding the Effective Receptive Field in Deep Convolutional Neural Networks,
NeurIPS 2016: the gradient of the centre of the output, summed over channels.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ablations.attention.recording import Setting, enlarge
from ablations.attention.records import FIELD_ENLARGEMENTS, FieldRecord
from ablations.data.batches import normalise
from sknet.resnext import ResNeXt
from sknet.selection import find_operators

IMAGES = 32
"""Number of images that gradients are averaged over, evenly spaced among the test images."""

LARGEST_SIDE = 64
"""Largest side of a map in pixels."""

Map = NDArray[np.float64]


def measure_fields(
    network: nn.Module, setting: Setting, *, variant: str, seed: int, source: str
) -> tuple[FieldRecord, ...]:
    """Measures the field of the last operator of every stage; of a ResNeXt only.

    Args:
        network: A network in evaluation mode.
        setting: The test images, and how they are run.
        variant: Name of the variant.
        seed: Seed of the trial.
        source: Key of the trial.
    """
    if not isinstance(network, ResNeXt):
        return ()
    operators = {
        name.partition("_")[0]: (name, unit) for name, unit in find_operators(network).items()
    }
    images = _load(setting)
    return tuple(
        FieldRecord(
            variant=variant,
            seed=seed,
            source=source,
            unit=name,
            enlargement=enlargement,
            radius=round(find_radius(energy), 4),
            energy=draw_map(energy),
        )
        for name, unit in operators.values()
        for enlargement in FIELD_ENLARGEMENTS
        for energy in [measure_energy(network, unit, enlarge(images, enlargement))]
    )


def measure_energy(network: nn.Module, unit: nn.Module, images: Tensor) -> Map:
    """The share of every pixel in the squared gradient of the centre of a unit's output.

    Shapes:
        images: (N, C, H, W) -> (H, W), summing to 1
    """
    outputs: list[Tensor] = []
    handle = unit.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    inputs = images.detach().requires_grad_()
    try:
        with torch.enable_grad():
            network(inputs)
            [output] = outputs
            centre = output[..., output.shape[-2] // 2, output.shape[-1] // 2].sum()
            [gradient] = torch.autograd.grad(centre, inputs)
    finally:
        handle.remove()
    energy = gradient.double().square().sum(dim=(0, 1)).cpu().numpy()
    return np.asarray(energy / energy.sum())


def find_radius(energy: Map) -> float:
    """Radius in pixels of the smallest disc that holds half of the energy, about its centroid.

    >>> find_radius(np.full((3, 3), 1 / 9))
    1.0
    """
    rows, columns = np.indices(energy.shape)
    centre = [(own * energy).sum() for own in (rows, columns)]
    distances = np.hypot(rows - centre[0], columns - centre[1]).ravel()
    order = np.argsort(distances, kind="stable")
    held = energy.ravel()[order].cumsum()
    return float(distances[order][np.searchsorted(held, 0.5 - 1e-12)])


def draw_map(energy: Map) -> str:
    """A map as grey levels of the gradient's size, two hexadecimal digits each, row by row."""
    step = -(-len(energy) // LARGEST_SIDE)
    amplitude = np.sqrt(energy[::step, ::step])
    levels = np.round(255 * amplitude / amplitude.max()).astype(np.uint8)
    return bytes(levels).hex()


def _load(setting: Setting) -> Tensor:
    count = len(setting.data.test)
    places = torch.arange(min(count, IMAGES)) * count // min(count, IMAGES)
    batches: Sequence[Tensor] = [places]
    loaded: Iterator[Any] = setting.data.test.iterate(batches, device=setting.device)
    images, _ = next(loaded)
    return normalise(images, setting.data.dataset)
