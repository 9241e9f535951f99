"""Records the selection weights of a network over all test images, batch by batch.

Only running sums are kept, so memory does not grow with the number of images: except for one number
per unit and image where the sizes of the objects are known, which rank correlations need.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ablations.attention.records import ENLARGEMENTS, UnitRecord, find_ends
from ablations.config import Recipe
from ablations.data.batches import Data, iterate_test_batches
from ablations.trial.evaluation import choose_batch_size
from ablations.trial.training import autocast
from sknet.selection import find_selective_units, record_selection
from sknet.selective_kernel import SKConv

Array = NDArray[Any]

DECIMALS = 8
"""Decimals of recorded weights, which are computed in single precision."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how networks are run."""

    data: Data
    """The dataset; its test images are used."""

    device: torch.device
    """Where the networks are."""

    recipe: Recipe | None = None
    """The recipe, for its precision; None for fp32."""

    batch_size: int | None = None
    """Images per batch; None for as many as in evaluation. It affects results by rounding only."""

    def iterate(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the normalised test images and their labels in order, batch by batch."""
        split = self.data.test
        size = self.batch_size or choose_batch_size(split.image_size)
        yield from iterate_test_batches(
            split, self.data.dataset, batch_size=size, device=self.device
        )

    def precision(self) -> AbstractContextManager[Any]:
        """Context of the recipe's precision."""
        if self.recipe is None:
            return torch.autocast(self.device.type, enabled=False)
        return autocast(self.recipe.precision, self.device)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What one pass over the test images at every enlargement gives."""

    units: tuple[UnitRecord, ...]
    """The records of all units."""

    errors: tuple[float, ...]
    """Top-1 error in percent at each enlargement."""

    means: Mapping[str, Tensor]
    """(M, C): mean weights of every unit by name, over images that are not enlarged."""


@torch.inference_mode()
def record_network(
    network: nn.Module, setting: Setting, *, enlargements: Sequence[float] = ENLARGEMENTS
) -> Recorded:
    """Records the selection weights of every unit of a network.

    Args:
        network: A network in evaluation mode that has at least one unit which selects.
        setting: The test images, and how they are run.
        enlargements: How far images are enlarged; the first must be 1, which is none.
    """
    units = find_selective_units(network)
    sizes = setting.data.test.object_sizes
    classes = setting.data.dataset.num_classes
    sums = {name: _Sums.start(unit, len(enlargements), classes) for name, unit in units.items()}
    wrong = np.zeros(len(enlargements), int)
    seen = 0
    with record_selection(network) as weights:
        for images, labels in setting.iterate():
            per_unit: dict[str, list[Tensor]] = {name: [] for name in units}
            for place, enlargement in enumerate(enlargements):
                with setting.precision():
                    scores = network(enlarge(images, enlargement))
                wrong[place] += int((scores.argmax(dim=1) != labels).sum())
                for name in units:
                    per_unit[name].append(weights[name].double())
            batch = slice(seen, seen + len(labels))
            seen = batch.stop
            own = None if sizes is None else sizes[batch].cpu().numpy()
            for name, found in per_unit.items():
                sums[name].add(found, labels.cpu().numpy(), own)
    return Recorded(
        units=tuple(own.finish(name) for name, own in sums.items()),
        errors=tuple(float(100 * count / seen) for count in wrong),
        means={name: own.channels / own.count for name, own in sums.items()},
    )


def enlarge(images: Tensor, enlargement: float) -> Tensor:
    """Crops the centre of images, and resizes it bilinearly to their size.

    Shapes:
        images: (N, C, H, W) -> (N, C, H, W), where H = W
    """
    if enlargement == 1:
        return images
    size = images.shape[-1]
    side = round(size / enlargement)
    start = (size - side) // 2
    centre = images[..., start : start + side, start : start + side]
    resized = interpolate(centre, size=(size, size), mode="bilinear", align_corners=False)
    return resized.contiguous(memory_format=torch.channels_last)


def list_extents(unit: SKConv) -> tuple[int, ...]:
    """Side of the square that the kernel of each branch covers."""
    convolutions: list[Any] = [branch[0] for branch in unit.branches]  # type: ignore[index]
    return tuple(c.dilation[0] * (c.kernel_size[0] - 1) + 1 for c in convolutions)


def rank_correlation(x: Array, y: Array) -> float | None:
    """Spearman's rank correlation; None if all values of either are the same.

    >>> rank_correlation(np.array([1, 2, 2, 3]), np.array([10, 20, 20, 90]))
    1.0
    """
    x_ranks, y_ranks = _rank(x), _rank(y)
    if np.ptp(x_ranks) == 0 or np.ptp(y_ranks) == 0:
        return None
    return round(float(np.corrcoef(x_ranks, y_ranks)[0, 1]), DECIMALS)


def _rank(values: Array) -> Array:
    """Ranks from the smallest; equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[places]


@dataclass(kw_only=True)
class _Sums:
    """Running sums over images of the weights of one unit."""

    extents: tuple[int, ...]
    """Side of the square that each branch covers."""

    channels: Tensor
    """(M, C): sum of the weights, not enlarged."""

    shares: Array
    """(enlargements, M): sum of the mean weights over channels."""

    squares: Array
    """(2, enlargements): sums of the squares of the differences and of their changes."""

    class_counts: Array
    """(classes,): number of images."""

    class_sums: Array
    """(enlargements, classes): sums of the differences."""

    by_size: dict[int, tuple[int, Array]] = field(default_factory=dict)
    """Number of images and sum of the mean weights, not enlarged, by size of the object."""

    pairs: list[tuple[Array, Array]] = field(default_factory=list)
    """Differences, not enlarged, and sizes of the objects, batch by batch."""

    count: int = 0
    """Number of images."""

    @classmethod
    def start(cls, unit: SKConv, enlargements: int, classes: int) -> "_Sums":
        """Sums over no image."""
        branches = len(unit.branches)
        width = unit.score.out_features // branches if unit.score is not None else 0
        return cls(
            extents=list_extents(unit),
            channels=torch.zeros(branches, width, dtype=torch.double),
            shares=np.zeros((enlargements, branches)),
            squares=np.zeros((2, enlargements)),
            class_counts=np.zeros(classes, int),
            class_sums=np.zeros((enlargements, classes)),
        )

    def add(self, weights: Sequence[Tensor], labels: Array, sizes: Array | None) -> None:
        """Adds a batch.

        Args:
            weights: (N, M, C) at each enlargement.
            labels: (N,) classes.
            sizes: (N,) sizes of the objects; None if unknown.
        """
        shares = torch.stack([own.mean(dim=2) for own in weights]).cpu().numpy()
        largest, smallest = find_ends(self.extents)
        differences = shares[..., largest] - shares[..., smallest]  # (enlargements, N)
        self.count += len(labels)
        self.channels += weights[0].sum(dim=0).cpu()
        self.shares += shares.sum(axis=1)
        changes = differences - differences[0]
        self.squares += [(differences**2).sum(axis=1), (changes**2).sum(axis=1)]
        self.class_counts += np.bincount(labels, minlength=len(self.class_counts))
        for place, own in enumerate(differences):
            self.class_sums[place] += np.bincount(labels, own, minlength=len(self.class_counts))
        if sizes is not None:
            self.pairs.append((differences[0], sizes))
            for size in np.unique(sizes).tolist():
                chosen = shares[0, sizes == size]
                count, total = self.by_size.get(size, (0, np.zeros(len(self.extents))))
                self.by_size[size] = (count + len(chosen), total + chosen.sum(axis=0))

    def finish(self, name: str) -> UnitRecord:
        """The record of the unit."""
        largest, smallest = find_ends(self.extents)
        shares = self.shares / self.count
        differences = shares[:, largest] - shares[:, smallest]
        means = np.stack([differences, differences - differences[0]])
        deviations = np.sqrt(np.maximum(self.squares / self.count - means**2, 0))
        with np.errstate(invalid="ignore"):
            by_class = self.class_sums / self.class_counts
        correlation = None
        if self.pairs:
            correlation = rank_correlation(*map(np.concatenate, zip(*self.pairs, strict=True)))
        return UnitRecord(
            name=name,
            extents=self.extents,
            shares=_to_tuples(shares),
            deviations=_to_tuples(deviations)[0],
            change_deviations=_to_tuples(deviations)[1],
            by_class=tuple(
                tuple(None if np.isnan(value) else value for value in row)
                for row in _to_tuples(by_class)
            ),
            by_size=tuple(
                _to_tuples((total / count)[None])[0]
                for _, (count, total) in sorted(self.by_size.items())
            ),
            correlation=correlation,
        )


def _to_tuples(values: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(value, DECIMALS) for value in row) for row in values.tolist())
