"""Records of a trial: measurements and environment as plain values, without torch."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """Measurements of one epoch; equal for equal specs, except for time and memory."""

    epoch: int
    """Number of the epoch, counted from 0."""

    is_last: bool
    """Whether this is the trial's last epoch."""

    diverged: bool
    """Whether the loss became NaN or infinite, which ends the trial."""

    learning_rate: float
    """Learning rate of the epoch's last step."""

    train_loss: float
    """Mean training loss."""

    top1_error: float
    """Top-1 error in percent on the test images."""

    top5_error: float
    """Top-5 error in percent on the test images."""

    top1_error_320: float | None = None
    """Top-1 error in percent on test images at 320x320 pixels; None for small images."""

    correct: bytes | None = None
    """One byte per test image in dataset order, 1 if classified correctly; last epoch only."""

    train_seconds: float = field(compare=False)
    """Wall time of training."""

    test_seconds: float = field(compare=False)
    """Wall time of evaluation."""

    images_per_second: float = field(compare=False)
    """Training throughput."""

    peak_memory_mb: float = field(compare=False)
    """Peak memory so far in 1e6 bytes: of the GPU, or on a CPU of the whole process, which may
    have run other trials before. Of several replicas, that of the first one."""


EPOCH_CODEC = TypeAdapter(EpochRecord)
"""Writes an epoch's record as plain values (`dump_python`) and reads it back (`validate_python`),
also from text."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Machine and versions that produced a number."""

    device: str
    """Model of the processor or GPU."""

    python: str
    """Python version."""

    torch: str
    """PyTorch version."""

    package: str
    """Version of this package."""

    platform: str
    """Operating system and architecture."""

    commit: str | None
    """Commit of the code; None outside a Git checkout."""

    dirty: bool | None
    """Whether there were uncommitted changes; None outside a Git checkout."""

    kernels: str | None = None
    """What computes besides PyTorch's default kernels: numba, or cuDNN's autotuner; None in records
    of older versions."""


_AMOUNTS = ("learning_rate", "train_seconds", "test_seconds", "images_per_second", "peak_memory_mb")
"""Measurements that are positive numbers whatever happens."""


ENVIRONMENT_CODEC = TypeAdapter(Environment)
"""The same for environments."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """Everything that is stored of a finished or diverged trial, except its weights."""

    key: str
    """Identity of the trial."""

    facts: dict[str, Any]
    """Facts that the identity is the hash of."""

    epochs: tuple[EpochRecord, ...]
    """One record per epoch."""

    environment: Environment
    """Environment of the last epoch."""

    finished_at: float
    """Unix time in seconds."""

    @property
    def state(self) -> Literal["finished", "diverged"]:
        """How the trial ended."""
        return "diverged" if self.epochs[-1].diverged else "finished"

    @property
    def last(self) -> EpochRecord:
        """The last epoch, whose error is reported: nothing is selected on test images."""
        return self.epochs[-1]

    @property
    def seed(self) -> int:
        """Seed of the trial."""
        return int(self.facts["seed"])

    @property
    def seconds(self) -> float:
        """Wall time of training and evaluation."""
        return sum(epoch.train_seconds + epoch.test_seconds for epoch in self.epochs)

    @property
    def device_seconds(self) -> float:
        """Time of one core or GPU: the wall time of every replica."""
        return self.seconds * int(self.facts.get("replicas", 1))

    def curve(self) -> list[dict[str, Any]]:
        """The epochs as plain values, without the outcomes of individual images."""
        return [EPOCH_CODEC.dump_python(epoch, exclude={"correct"}) for epoch in self.epochs]


def check_curve(record: TrialRecord) -> None:
    """Makes sure that the epochs are those of one whole trial, and agree with its outcomes.

    Raises:
        ValueError: If an epoch is missing, a value is out of range, or the error is not that of
            the outcomes.
    """
    planned = record.facts.get("recipe", {}).get("epochs")
    if not record.last.diverged and len(record.epochs) != planned:
        raise ValueError(f"there must be {planned} epochs, got {len(record.epochs)}")
    for number, epoch in enumerate(record.epochs):
        _check_epoch(epoch, number=number, is_last=number == len(record.epochs) - 1)
    outcomes = record.last.correct
    if outcomes:
        error = 100 * (1 - sum(outcomes) / len(outcomes))
        if not math.isclose(error, record.last.top1_error, abs_tol=1e-3):
            raise ValueError(
                f"the last top1_error must be {error:.4f}, that of the outcomes, got "
                f"{record.last.top1_error}"
            )


def _check_epoch(epoch: EpochRecord, *, number: int, is_last: bool) -> None:
    if epoch.epoch != number or epoch.is_last != is_last or (epoch.diverged and not is_last):
        raise ValueError(f"epochs.{number}: the epochs must be numbered from 0 to the last one")
    measured = [epoch.top1_error, epoch.top5_error, epoch.top1_error_320 or 0.0]
    if not all(0 <= error <= 100 for error in measured):
        raise ValueError(f"epochs.{number}: errors must be within 0 and 100, got {measured}")
    amounts = {name: getattr(epoch, name) for name in _AMOUNTS}
    if wrong := [name for name, amount in amounts.items() if not 0 <= amount < math.inf]:
        raise ValueError(
            f"epochs.{number}: {wrong[0]} must be a positive number, got {amounts[wrong[0]]}"
        )
    if not (epoch.diverged or 0 <= epoch.train_loss < math.inf):
        raise ValueError(f"epochs.{number}: train_loss must be finite, got {epoch.train_loss}")
