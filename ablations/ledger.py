"""The ledger: what is known of each trial, on disk and crash-safe. It is the one truth.

A finished trial is a folder `trials/<key>` with `record.json`, `correct.npy` (one bit per test
image) and `weights.pt`. It is created by one atomic rename, contains everything that a table needs,
and is valid in any `runs/` directory.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from pydantic import Field, NonNegativeInt, TypeAdapter

from ablations.errors import MachineError
from ablations.files import hash_file, parse_json, write_atomically
from ablations.plans import make_key
from ablations.trial.records import Environment, EpochRecord, TrialRecord

RECORD, OUTCOMES, WEIGHTS = "record.json", "correct.npy", "weights.pt"
"""Names of the files of a trial's folder."""


@dataclass(frozen=True, kw_only=True)
class _Checksums:
    """SHA-256 of the other files of a trial's folder."""

    outcomes: Annotated[str, Field(alias=OUTCOMES)]
    """Of the outcomes."""

    weights: Annotated[str, Field(alias=WEIGHTS)]
    """Of the weights."""


@dataclass(frozen=True, kw_only=True)
class _Content:
    """Content of record.json, which also names the trial and its state for people."""

    format: Literal[1]
    """Version of the layout."""

    facts: dict[str, Any]
    """Facts that the identity is the hash of."""

    epochs: Annotated[tuple[EpochRecord, ...], Field(min_length=1)]
    """Records of the epochs, without outcomes."""

    test_images: NonNegativeInt
    """Number of outcomes."""

    environment: Environment
    """Environment of the last epoch."""

    finished_at: float
    """Unix time in seconds."""

    sha256: _Checksums
    """Checksums of the other files."""

    weights_bytes: int | None = None
    """Size of the weights; None in records of earlier versions."""


_CONTENT = TypeAdapter(_Content)
_LOOKS = TypeAdapter(dict[str, list[list[int]]])


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A trial that raised on every attempt."""

    key: str
    """Identity of the trial."""

    reason: str
    """Last line of the error."""

    details: str
    """The stack trace."""


_FAILURE = TypeAdapter(Failure)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is known of some trials."""

    records: dict[str, TrialRecord]
    """Finished and diverged trials."""

    failures: dict[str, Failure]
    """Failed trials; they are tried again."""

    corrupt: dict[str, str]
    """Reasons why records are damaged; their trials are trained again."""


class Ledger:
    """The records in one `runs/` directory."""

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self._trials = runs_dir / "trials"
        self._failures = runs_dir / "failures"
        self._read: dict[str, tuple[int, TrialRecord]] = {}
        self._recalled: Mapping[str, TrialRecord] = {}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Locks the directory for this process.

        Raises:
            MachineError: If the directory cannot be written, or another process has locked it.
        """
        try:
            self._trials.mkdir(parents=True, exist_ok=True)
            self._failures.mkdir(parents=True, exist_ok=True)
            with FileLock(self.runs_dir / ".lock", timeout=0):
                self._sweep()
                yield
        except Timeout:
            raise MachineError(
                f"another run is using {self.runs_dir}; wait for it or pass another --runs-dir."
            ) from None
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise MachineError(
                f"{self.runs_dir} must be a writable folder, got {error.strerror}. "
                "Pass another --runs-dir."
            ) from error

    @property
    def has_records(self) -> bool:
        """Whether there may be any record."""
        return self._trials.is_dir()

    def checkpoint_of(self, key: str) -> Path:
        """File with the state of an unfinished trial."""
        return self.runs_dir / "checkpoints" / f"{key}.pt"

    def recall(self, records: Mapping[str, TrialRecord]) -> None:
        """Counts records from elsewhere as known from now on, without keeping them.

        Args:
            records: The records by key; those in the directory take precedence.
        """
        self._recalled = records

    def examine(self, keys: Iterable[str], *, deep: bool = False) -> Findings:
        """Reads and checks everything known of some trials; changes nothing.

        Args:
            keys: The trials.
            deep: Whether to check the checksums of weights too, rather than only their sizes.
        """
        recorded, failed = _list_names(self._trials), _list_names(self._failures)
        records: dict[str, TrialRecord] = {}
        failures: dict[str, Failure] = {}
        corrupt: dict[str, str] = {}
        for key in keys:
            if key in recorded:
                try:
                    records[key] = self._read_once(key, deep=deep)
                except (OSError, ValueError) as error:
                    corrupt[key] = str(error)
            elif key in self._recalled:
                records[key] = self._recalled[key]
            elif self._failure_file(key).name in failed:
                failures[key] = self._read_failure(key)
        return Findings(records=records, failures=failures, corrupt=corrupt)

    def _read_once(self, key: str, *, deep: bool) -> TrialRecord:
        """The record of a trial; unless `deep`, it is read again only if it was rewritten."""
        written = (self._trials / key / RECORD).stat().st_mtime_ns
        if deep or self._read.get(key, (None,))[0] != written:
            self._read[key] = (written, read_record(self._trials / key, deep=deep))
        return self._read[key][1]

    def find_weights(self, key: str) -> Path:
        """The file with the weights of a trial; recalled records have none."""
        return self._trials / key / WEIGHTS

    def set_aside(self, key: str) -> Path:
        """Moves a damaged record aside, and returns its new location."""
        folder = self.runs_dir / "corrupt"
        folder.mkdir(parents=True, exist_ok=True)
        target = Path(tempfile.mkdtemp(prefix=f"{key}-", dir=folder))
        return (self._trials / key).rename(target / key)

    def add(self, record: TrialRecord) -> None:
        """Adds a trial that has ended, with the weights of its checkpoint, which is then removed.

        Raises:
            MachineError: If it cannot be written; the checkpoint is kept.
        """
        try:
            self._write(record)
        except OSError as error:
            raise MachineError(
                f"cannot write the record of trial {record.key} to {self.runs_dir}: "
                f"{error.strerror or error}. Free some space or mend the folder; the same command "
                "resumes."
            ) from error
        self._failure_file(record.key).unlink(missing_ok=True)
        self.checkpoint_of(record.key).unlink(missing_ok=True)

    def _write(self, record: TrialRecord) -> None:
        """Writes the record's folder under a temporary name, then renames it."""
        import torch

        from ablations.trial.run import (
            read_final_weights,  # loads torch, which reading does not need
        )

        staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=self._trials))
        torch.save(read_final_weights(self.checkpoint_of(record.key)), staging / WEIGHTS)
        np.save(staging / OUTCOMES, np.packbits(np.frombuffer(record.last.correct or b"", bool)))
        content = {
            "format": 1,
            "trial": record.key,
            "state": record.state,
            "facts": record.facts,
            "epochs": record.curve(),
            "test_images": len(record.last.correct or ()),
            "environment": asdict(record.environment),
            "finished_at": record.finished_at,
            "sha256": {name: hash_file(staging / name) for name in (OUTCOMES, WEIGHTS)},
            "weights_bytes": (staging / WEIGHTS).stat().st_size,
        }
        write_atomically(staging / RECORD, json.dumps(content, indent=1) + "\n")
        staging.chmod(0o755)  # mkdtemp makes it readable by the owner only
        staging.rename(self._trials / record.key)

    def add_failure(self, failure: Failure) -> None:
        """Adds the reason why a trial failed; the trial remains to be run."""
        write_atomically(self._failure_file(failure.key), json.dumps(asdict(failure), indent=1))

    def add_look(self, experiment: str, recipe_name: str, seeds: Sequence[int]) -> None:
        """Adds a look at a table, unless it was looked at with the same seeds before."""
        looks = self._read_looks()
        own = looks.setdefault(f"{experiment}/{recipe_name}", [])
        if sorted(seeds) not in own:
            own.append(sorted(seeds))
            write_atomically(self._looks_file, json.dumps(looks, indent=1) + "\n")

    def list_looks(self, experiment: str, recipe_name: str) -> list[list[int]]:
        """The seeds of all looks at a table, in order."""
        return self._read_looks().get(f"{experiment}/{recipe_name}", [])

    @property
    def _looks_file(self) -> Path:
        return self.runs_dir / "looks.json"

    def _read_looks(self) -> dict[str, list[list[int]]]:
        try:
            return parse_json(_LOOKS, self._looks_file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise MachineError(
                f"{self._looks_file} must hold the looks at tables as JSON, got {error}. "
                "Repair it; without it the error rate of tables is unknown."
            ) from error

    def _failure_file(self, key: str) -> Path:
        return self._failures / f"{key}.json"

    def _read_failure(self, key: str) -> Failure:
        try:
            return parse_json(_FAILURE, self._failure_file(key).read_bytes())
        except (OSError, ValueError) as error:
            return Failure(key=key, reason=f"its report is unreadable: {error}", details="")

    def _sweep(self) -> None:
        """Removes unfinished records that a killed process left behind."""
        for staging in self._trials.glob(".staging-*"):
            shutil.rmtree(staging)


def read_record(folder: Path, *, deep: bool = False) -> TrialRecord:
    """Reads a trial's folder, and checks its checksums, identity and outcomes.

    Args:
        folder: The folder.
        deep: Whether to check the checksum of the weights too, rather than only their size.

    Raises:
        OSError: If a file is missing or unreadable.
        ValueError: If a value has the wrong type, or a checksum, a size or the identity differs.
    """
    content = _read_content(folder / RECORD)
    if (key := make_key(content.facts)) != folder.name:
        raise ValueError(f"{RECORD}: the facts must have the key {folder.name}, got {key}")
    _check_weights(folder / WEIGHTS, content, deep=deep)
    *earlier, last = content.epochs
    outcomes = _unpack_outcomes((folder / OUTCOMES).read_bytes(), content)
    return TrialRecord(
        key=folder.name,
        facts=content.facts,
        epochs=(*earlier, replace(last, correct=outcomes)),
        environment=content.environment,
        finished_at=content.finished_at,
    )


def _read_content(path: Path) -> _Content:
    try:
        return parse_json(_CONTENT, path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _check_weights(path: Path, content: _Content, *, deep: bool) -> None:
    size = path.stat().st_size
    if content.weights_bytes not in (None, size):
        raise ValueError(f"{path.name} must have {content.weights_bytes} bytes, got {size}")
    if deep and hash_file(path) != content.sha256.weights:
        raise ValueError(
            f"{path} must have the checksum {content.sha256.weights}; remove its folder to train "
            "the trial again"
        )


def _unpack_outcomes(file: bytes, content: _Content) -> bytes:
    """One byte per test image from a file of NumPy; `numpy.load` takes several times longer."""
    if hashlib.sha256(file).hexdigest() != content.sha256.outcomes:
        raise ValueError(f"{OUTCOMES} must have the checksum {content.sha256.outcomes}")
    header = 10 + int.from_bytes(file[8:10], "little")
    bits = np.frombuffer(file, np.uint8, offset=header)
    if len(bits) != -(-content.test_images // 8):
        raise ValueError(f"{OUTCOMES} must hold {content.test_images} bits, got {8 * len(bits)}")
    return np.unpackbits(bits, count=content.test_images).tobytes()


def _list_names(folder: Path) -> frozenset[str]:
    """Names of a folder's entries; none if there is no such folder."""
    try:
        return frozenset(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
