"""What a trial measured, and where: plain values, light to import."""

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """What one epoch measured. Records of equal specs are equal, but for time and memory."""

    epoch: int
    """Number of the epoch, from 0."""

    is_last: bool
    """Whether the trial ends with it."""

    diverged: bool
    """Whether the loss stopped being a finite number; the trial then ends."""

    learning_rate: float
    """Learning rate of the last step."""

    train_loss: float
    """Mean loss over the epoch's images."""

    top1_error: float
    """Percent, on the test images."""

    top5_error: float
    """Percent, on the test images."""

    top1_error_320: float | None = None
    """Percent, on the test images at 320x320 pixels; None where they are small."""

    correct: tuple[bool, ...] | None = None
    """Of the last epoch: whether each test image is right, in the dataset's order."""

    train_seconds: float = field(compare=False)
    """Wall time of the epoch's training."""

    test_seconds: float = field(compare=False)
    """Wall time of the epoch's evaluation."""

    images_per_second: float = field(compare=False)
    """Training throughput."""

    peak_memory_mb: float = field(compare=False)
    """Peak so far, in 1e6 bytes: of the GPU's memory, or on a CPU of the whole process, which
    may have run other trials before."""


EPOCH_CODEC = TypeAdapter(EpochRecord)
"""Writes an epoch's record as plain values (`dump_python`) and reads it back (`validate_python`),
also from text."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What a reader of a number needs to know of the machine and the code that made it."""

    device: str
    """Model of the processor or GPU."""

    python: str
    """Version of Python."""

    torch: str
    """Version of PyTorch."""

    package: str
    """Version of this package."""

    platform: str
    """Operating system and architecture."""

    commit: str | None
    """Commit of the code; None outside a checkout."""

    dirty: bool | None
    """Whether the checkout had uncommitted changes; None outside a checkout."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """All that is kept of a finished or diverged trial, but for its weights."""

    key: str
    """The trial's identity."""

    facts: dict[str, Any]
    """What the identity is made of."""

    epochs: tuple[EpochRecord, ...]
    """One record for each epoch."""

    environment: Environment
    """Where its last epoch ran."""

    finished_at: float
    """Seconds since 1970."""

    @property
    def state(self) -> Literal["finished", "diverged"]:
        """How the trial ended."""
        return "diverged" if self.epochs[-1].diverged else "finished"

    @property
    def last(self) -> EpochRecord:
        """The epoch whose error counts: nothing is chosen on test images."""
        return self.epochs[-1]

    @property
    def seed(self) -> int:
        """The trial's seed."""
        return int(self.facts["seed"])

    @property
    def seconds(self) -> float:
        """Wall time of training and evaluation."""
        return sum(epoch.train_seconds + epoch.test_seconds for epoch in self.epochs)

    def curve(self) -> list[dict[str, Any]]:
        """The epochs as plain values, without the outcomes of single images."""
        return [EPOCH_CODEC.dump_python(epoch, exclude={"correct"}) for epoch in self.epochs]
