"""What was recorded of the selection weights of networks, as plain values readable without torch.

The *difference* of an image is the attention to the largest kernel of a unit minus that to the
smallest, each averaged over the unit's channels; it lies between -1 and 1.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ablations.trial.records import Environment

ENLARGEMENTS = (1.0, 1.5, 2.0)
"""Enlargements of the test images: 2.0 shows the central half, resized to the whole image."""

FIELD_ENLARGEMENTS = (1.0, 2.0)
"""Enlargements at which receptive fields are measured."""

Role = Literal["trained", "untrained", "shuffled labels"]
"""What a network is: trained, or a control. Untrained is the same network before its training,
shuffled labels the same variant and seed trained on labels that say nothing about the images."""

Intervention = Literal["mean", "smallest", "largest", "shuffled"]
"""What replaces the selection weights of all units at once."""

INTERVENTIONS: Mapping[Intervention, str] = {
    "mean": "the mean over the test images",
    "smallest": "the smallest kernel alone",
    "largest": "the largest kernel alone",
    "shuffled": "the weights of another image",
}
"""What the selection weights are replaced by, in words."""


@dataclass(frozen=True, kw_only=True)
class UnitRecord:
    """The selection weights of one unit of one network over all test images."""

    name: str
    """Name of the unit; SK_3_4 is the fourth unit of stage 3."""

    extents: tuple[int, ...]
    """Side in pixels of the square that each branch's kernel covers."""

    shares: tuple[tuple[float, ...], ...]
    """Mean weight of every branch over images and channels, at each enlargement."""

    deviations: tuple[float, ...]
    """Standard deviation of the difference over images, at each enlargement."""

    change_deviations: tuple[float, ...]
    """Standard deviation over images of the change of the difference from the first enlargement."""

    by_class: tuple[tuple[float | None, ...], ...]
    """Mean difference of each class at each enlargement; None for a class without an image."""

    by_size: tuple[tuple[float, ...], ...] = ()
    """Mean weight of every branch for each size of the objects, not enlarged; empty if sizes are
    unknown."""

    correlation: float | None = None
    """Spearman's rank correlation of the difference and the object's size over images, not
    enlarged; None if sizes are unknown or the difference is the same for all images."""

    @property
    def stage(self) -> str:
        """The stage that the unit is in."""
        return find_stage(self.name)

    def difference(self, enlargement: int) -> float:
        """Mean difference over images, by the place of the enlargement."""
        return self.subtract(self.shares[enlargement])

    def change(self, enlargement: int) -> float:
        """How far the difference moves from the first enlargement."""
        return self.difference(enlargement) - self.difference(0)

    def subtract(self, shares: tuple[float, ...]) -> float:
        """The share of the largest kernel minus that of the smallest."""
        largest, smallest = find_ends(self.extents)
        return shares[largest] - shares[smallest]


def find_ends(extents: tuple[int, ...]) -> tuple[int, int]:
    """Places of the largest and of the smallest kernel; equal ones: the last and the first.

    >>> find_ends((3, 7, 5))
    (1, 0)
    """
    places = sorted(range(len(extents)), key=lambda place: extents[place])
    return places[-1], places[0]


@dataclass(frozen=True, kw_only=True)
class NetworkRecord:
    """What was recorded of one network."""

    variant: str
    """The variant, or the name of the checkpoint."""

    seed: int
    """Seed of the trial; 0 for a checkpoint."""

    source: str
    """Key of the trial; SHA-256 of a checkpoint."""

    role: Role
    """Whether it is trained, or a control."""

    units: tuple[UnitRecord, ...]
    """Its units in the order in which they run."""

    errors: tuple[float, ...]
    """Top-1 error in percent at each enlargement."""

    replaced: Mapping[Intervention, float]
    """Top-1 error in percent, not enlarged, under each intervention; empty for controls."""


@dataclass(frozen=True, kw_only=True)
class FieldRecord:
    """The effective receptive field of one operator of one trained network."""

    variant: str
    """The variant; it need not select among its kernels."""

    seed: int
    """Seed of the trial; 0 for a checkpoint."""

    source: str
    """Key of the trial; SHA-256 of a checkpoint."""

    unit: str
    """Stage and position of the operator: 3_4 is where SK_3_4 is in networks that select."""

    enlargement: float
    """Enlargement of the test images."""

    radius: float
    """Radius in pixels of the image of the smallest disc that holds half of the energy."""

    energy: str
    """Size of the gradient at every pixel, relative to the largest: row by row, two hexadecimal
    digits each, with the same number of rows and columns."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A test image at every enlargement, and what the first network of every variant made of it."""

    index: int
    """Place among the test images."""

    object_size: int | None
    """Side of its object in pixels; None if unknown."""

    side: int
    """Side of the pictures in pixels."""

    pictures: tuple[str, ...]
    """Grey levels from 0 to 255, row by row, two hexadecimal digits each, at each enlargement."""

    differences: Mapping[str, tuple[tuple[float, ...], ...]]
    """By variant: the difference at each enlargement, unit by unit."""

    channels: Mapping[str, tuple[tuple[float, ...], ...]]
    """By variant: attention to the largest kernel at each enlargement, channel by channel, in the
    unit that `find_middle` returns."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The selection weights of several networks, recorded on the same test images."""

    experiment: str
    """Name of the experiment; that of the network for a checkpoint."""

    recipe_name: str
    """Name of the recipe; empty for a checkpoint."""

    dataset: str
    """Name of the dataset."""

    body: str
    """Name of the body; empty for a checkpoint."""

    test_images: int
    """Number of test images."""

    margin: float
    """Points of error below which a difference does not matter."""

    sizes: Mapping[int, int]
    """Number of test images by the size of their object in pixels; empty if sizes are unknown."""

    networks: tuple[NetworkRecord, ...]
    """By variant, seed and role."""

    examples: tuple[Example, ...]
    """A few test images."""

    skipped: Mapping[str, str]
    """Variants without a recording, and why."""

    environment: Environment
    """Device, versions and commit of the recording."""

    fields: tuple[FieldRecord, ...] = ()
    """Receptive fields of trained networks, also of variants that do not select."""

    enlargements: tuple[float, ...] = ENLARGEMENTS
    """Enlargements of the test images, the first of which is none."""

    @cached_property
    def variants(self) -> tuple[str, ...]:
        """The variants that were recorded."""
        return tuple(dict.fromkeys(network.variant for network in self.networks))

    def select(self, variant: str, role: Role = "trained") -> dict[int, NetworkRecord]:
        """The networks of a variant in a role, by seed."""
        return {n.seed: n for n in self.networks if (n.variant, n.role) == (variant, role)}

    def list_units(self, variant: str) -> list[str]:
        """Names of the units of a variant."""
        first = next(network for network in self.networks if network.variant == variant)
        return [unit.name for unit in first.units]


def find_stage(unit: str) -> str:
    """The part of a unit's name that says in which stage it is.

    >>> find_stage("SK_3_4"), find_stage("stages.0.1.operator")
    ('SK_3', 'stages.0')
    """
    found = re.match(r"SK_\d+|.*?stages\.\d+", unit)
    return found[0] if found else unit


def find_middle(units: Sequence[str]) -> int:
    """Place of the unit whose channels are shown: the last of the second stage, as SK_3_4.

    >>> find_middle(["SK_2_1", "SK_3_1", "SK_3_2", "SK_4_1"])
    2
    """
    stages = [find_stage(name) for name in units]
    second = list(dict.fromkeys(stages))[:2][-1]
    return max(place for place, stage in enumerate(stages) if stage == second)
