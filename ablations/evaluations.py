"""Evaluations of published weights as plain values, readable without torch, and their files."""

import json
import math
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from ablations.choices import Precision
from ablations.errors import IncompleteError, MachineError
from ablations.files import (
    hash_file,
    hash_value,
    parse_json,
    parse_sealed,
    read_regular,
    write_atomically,
)
from ablations.trial.records import Environment

FORMAT = 1
"""Version of the files' layout."""

LARGEST_FILE = 2**20
"""Most bytes of a file."""

SHOWN_HASH = 12
"""Digits of a hash that names of files and notes show."""

Measure = Literal["top1", "top5"]
"""Which errors are counted: the label does not have the highest score, or none of the five."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A file of weights."""

    file: str
    """Its name, without the folder."""

    sha256: str
    """SHA-256 of its bytes."""

    library: str
    """The library whose names its tensors have, as `sknet.load_weights` tells it."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images that networks are evaluated on, and how they are preprocessed."""

    name: str
    """Name of the dataset; its images are in val/."""

    sha256: str
    """Hash of their paths and sizes in bytes."""

    count: int
    """Number of images."""

    num_classes: int
    """Number of classes."""

    resize: str
    """Interpolation of the resizing."""

    mean: tuple[float, ...]
    """Subtracted from each channel, on a scale from 0 (black) to 1 (white)."""

    std: tuple[float, ...]
    """What each channel is divided by then."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Errors of one pass over the images."""

    image_size: int
    """Side in pixels of the centre crop."""

    shorter_side: int
    """Shorter side in pixels that an image is resized to before."""

    top1: int
    """Number of images whose label does not have the highest score."""

    top5: int
    """Number of images whose label is not among the five highest scores."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Errors of one network with published weights."""

    network: str
    """Name in the zoo."""

    identity: str
    """Identity of what was built, by `identify_network`: equal to that of a table's row if the row
    is the same network."""

    checkpoint: Checkpoint
    """Its weights."""

    images: Images
    """What it was evaluated on."""

    precision: Precision
    """Numbers that it computed with."""

    errors: tuple[Errors, ...]
    """Errors for each size of the images."""

    environment: Environment
    """Device, versions and commit."""

    evaluated_at: float
    """Unix time in seconds."""

    def __post_init__(self) -> None:
        if not all(0 <= own.top5 <= own.top1 <= self.images.count for own in self.errors):
            raise ValueError(f"errors must be at most {self.images.count} images, top-5 the fewer")

    @property
    def key(self) -> str:
        """Name of its file; the same for a repetition."""
        facts = (self.identity, self.checkpoint.sha256, self.images.sha256, self.precision)
        return f"{self.network}-{hash_value(facts)[:SHOWN_HASH]}"

    def compute_error(self, measure: Measure, image_size: int) -> float:
        """An error in percent; NaN if it was not measured at that size."""
        for own in self.errors:
            if own.image_size == image_size:
                return 100 * float(getattr(own, measure)) / self.images.count
        return math.nan

    def describe(self) -> str:
        """The images, their preprocessing and the machine in words."""
        images, place = self.images, self.environment
        crops = " and ".join(f"{e.image_size} from {e.shorter_side} pixels" for e in self.errors)
        return (
            f"{images.count:,} images of {images.num_classes:,} classes in val/ of {images.name}, "
            f"SHA-256 {images.sha256[:SHOWN_HASH]}; centre crops of {crops}; {self.precision}, on "
            f"{place.device}, torch {place.torch}"
        )


_EVALUATION = TypeAdapter(Evaluation)


def describe_checkpoint(path: Path, *, library: str) -> Checkpoint:
    """Describes a file of weights that was read.

    Raises:
        MachineError: If it is unreadable.
    """
    return Checkpoint(
        file=os.fsencode(path.name).decode(errors="replace"),
        sha256=hash_checkpoint(path),
        library=library,
    )


def hash_checkpoint(path: Path) -> str:
    """SHA-256 of a file of weights.

    Raises:
        MachineError: If it is unreadable.
    """
    try:
        return hash_file(path)
    except OSError as error:
        raise MachineError(
            f"{path} must be a readable checkpoint, got {error.strerror}."
        ) from error


def select_evaluations(
    evaluations: Iterable[Evaluation], identities: Collection[str]
) -> tuple[Evaluation, ...]:
    """The latest evaluation of each network, in the order of the networks' identities."""
    ordered = sorted(evaluations, key=lambda known: known.evaluated_at)
    latest = {known.identity: known for known in ordered}
    return tuple(latest[identity] for identity in dict.fromkeys(identities) if identity in latest)


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Writes an evaluation with its checksum, in place of an earlier one; returns its file.

    Raises:
        MachineError: If it cannot be written.
    """
    path = folder / f"{evaluation.key}.json"
    plain = _EVALUATION.dump_python(evaluation, mode="json")
    sealed = {"format": FORMAT, "sha256": hash_value(plain), **plain}
    try:
        write_atomically(path, json.dumps(sealed, indent=1) + "\n")
    except OSError as error:
        raise MachineError(
            f"{folder} must be a writable folder, got {error.strerror}. Pass another --runs-dir."
        ) from error
    return path


def read_evaluations(folder: Path) -> list[Evaluation]:
    """Reads every evaluation in a folder.

    Raises:
        IncompleteError: If a file was edited or damaged, or is of another version.
        MachineError: If a file cannot be read.
    """
    return [_read(path) for path in sorted(folder.glob("*.json"))]


def _read(path: Path) -> Evaluation:
    try:
        return _parse(read_regular(path, most=LARGEST_FILE))
    except OSError as error:
        raise MachineError(f"{path} must be readable, got {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise IncompleteError(
            f"{path} is not what `ablations evaluate` wrote: {error}. Remove it and evaluate again."
        ) from error


def _parse(content: bytes) -> Evaluation:
    plain = parse_sealed(content, version=FORMAT, seal=hash_value)
    return parse_json(_EVALUATION, json.dumps(plain).encode())
