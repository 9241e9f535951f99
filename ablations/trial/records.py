"""Records of a trial: measurements and environment as plain values, without torch."""

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
    have run other trials before."""


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

    def curve(self) -> list[dict[str, Any]]:
        """The epochs as plain values, without the outcomes of individual images."""
        return [EPOCH_CODEC.dump_python(epoch, exclude={"correct"}) for epoch in self.epochs]
