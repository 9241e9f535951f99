"""A few test images at every enlargement, and the attention that networks pay to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ablations.attention.recording import DECIMALS, Setting, enlarge, list_extents
from ablations.attention.records import ENLARGEMENTS, Example, find_ends, find_middle
from ablations.data.batches import normalise
from sknet.selection import find_selective_units, record_selection

QUANTILES = (0.1, 0.5, 0.9)
"""Quantiles of the objects' sizes at which images are chosen, if sizes are known."""

LARGEST_SIDE = 64
"""Largest side of a picture in pixels."""

Table = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Attention:
    """The attention that one network pays to one image."""

    differences: Table
    """The difference at each enlargement, unit by unit."""

    channels: Table
    """Attention to the largest kernel at each enlargement, channel by channel of one unit."""


def choose_examples(setting: Setting) -> list[int]:
    """Chooses images with a small, a middling and a large object, or evenly spaced ones.

    Images are evenly spaced among the test images if the sizes of objects are not known.
    """
    sizes, count = setting.data.test.object_sizes, len(setting.data.test)
    if sizes is None:
        return sorted({count * place // len(QUANTILES) for place in range(len(QUANTILES))})
    known = sizes.cpu().numpy()
    wanted = np.quantile(known, QUANTILES, method="nearest")
    return list(dict.fromkeys(int(np.argmax(known == size)) for size in wanted))


@torch.inference_mode()
def attend(network: nn.Module, setting: Setting, indices: Sequence[int]) -> list[Attention]:
    """Records the attention that a network pays to some test images."""
    units = find_selective_units(network)
    ends = {name: find_ends(list_extents(unit)) for name, unit in units.items()}
    middle = list(units)[find_middle(list(units))]
    images = normalise(_load(setting, indices), setting.data.dataset)
    differences, channels = [], []
    for enlargement in ENLARGEMENTS:
        with record_selection(network) as weights, setting.precision():
            network(enlarge(images, enlargement))
        means = {name: weights[name].double().mean(dim=2) for name in units}
        own = [
            means[name][:, large] - means[name][:, small] for name, (large, small) in ends.items()
        ]
        differences.append(torch.stack(own, dim=1))
        channels.append(weights[middle][:, ends[middle][0]].double())
    return [
        Attention(
            differences=_to_table([own[place] for own in differences]),
            channels=_to_table([own[place] for own in channels]),
        )
        for place in range(len(indices))
    ]


def describe_examples(
    setting: Setting, indices: Sequence[int], attention: Mapping[str, Sequence[Attention]]
) -> tuple[Example, ...]:
    """Combines some test images with the attention paid to them.

    Args:
        setting: The test images.
        indices: Places of the images.
        attention: What `attend` returned for these images, by variant.
    """
    images = _load(setting, indices).float()
    side = min(images.shape[-1], LARGEST_SIDE)
    sizes = setting.data.test.object_sizes
    pictures = [
        interpolate(enlarge(images, own), size=(side, side), mode="bilinear", antialias=True)
        .mean(dim=1)
        .round()
        .clamp(0, 255)
        .to("cpu", torch.uint8)
        .numpy()
        for own in ENLARGEMENTS
    ]
    return tuple(
        Example(
            index=index,
            object_size=None if sizes is None else int(sizes[index]),
            side=side,
            pictures=tuple(own[place].tobytes().hex() for own in pictures),
            differences={name: found[place].differences for name, found in attention.items()},
            channels={name: found[place].channels for name, found in attention.items()},
        )
        for place, index in enumerate(indices)
    )


def _load(setting: Setting, indices: Sequence[int]) -> Tensor:
    """The pixels of some test images."""
    batches = [torch.tensor(indices)]
    images, _ = next(iter(setting.data.test.iterate(batches, device=setting.device)))
    return images


def _to_table(rows: Sequence[Tensor]) -> Table:
    return tuple(tuple(round(value, DECIMALS) for value in row.tolist()) for row in rows)
