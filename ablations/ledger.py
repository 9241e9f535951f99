"""The ledger: what is known of each trial, on disk and crash-safe. It is the one truth.

A finished trial is a folder `trials/<key>` with `record.json`, `record.sha256` (its checksum),
`correct.npy` (one bit per test image) and `weights.pt`. It is created by one atomic rename,
contains everything that a table needs, and is valid in any `runs/` directory.
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from pydantic import Field, NonNegativeInt, TypeAdapter

from ablations.data.prepared import remove_path
from ablations.errors import MachineError
from ablations.files import hash_file, measure_regular, parse_json, read_regular, write_atomically
from ablations.plans import make_key
from ablations.trial.records import Environment, EpochRecord, TrialRecord, check_curve

RECORD, OUTCOMES, WEIGHTS = "record.json", "correct.npy", "weights.pt"
"""Names of the files of a trial's folder."""

LOCK_SECONDS = 60
"""How long to wait for another process that writes to the same directory."""

TEMPORARY = ("checkpoints/.*.pt-*", "datasets/.*-*")
"""Names under which checkpoints and datasets are written."""

STALE_SECONDS = 24 * 3600
"""Age at which such a file or folder belongs to no process that is still writing."""

DIGEST = "record.sha256"
"""Name of the file with the checksum of the record, as `sha256sum` writes and checks it; absent in
records of earlier versions."""

LARGEST_RECORD = 2**26
"""Most bytes of a record: ten times those of 100,000 epochs."""


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

    def prepare(self) -> None:
        """Creates the directory, and removes what killed processes left behind in it.

        Raises:
            MachineError: If the directory cannot be written.
        """
        try:
            self._trials.mkdir(parents=True, exist_ok=True)
            self._failures.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._sweep()
        except OSError as error:
            raise MachineError(
                f"{self.runs_dir} must be a writable folder, got {error.strerror or error}. "
                "Pass another --runs-dir."
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps other processes from writing, for as long as one thing takes to be written."""
        try:
            with FileLock(self.runs_dir / ".lock", timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise MachineError(
                f"another process has been writing to {self.runs_dir} for {LOCK_SECONDS} s; end "
                "it, or pass another --runs-dir."
            ) from None

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

    def set_aside(self, key: str) -> Path | None:
        """Moves a damaged record aside, and returns its new location.

        None if it is not damaged by now: another run has moved it, or trained the trial again.
        """
        with self._locked():
            if key not in self.examine([key]).corrupt:
                return None
            folder = self.runs_dir / "corrupt"
            folder.mkdir(parents=True, exist_ok=True)
            target = Path(tempfile.mkdtemp(prefix=f"{key}-", dir=folder))
            return (self._trials / key).rename(target / key)

    def add(self, record: TrialRecord) -> None:
        """Adds a trial that has ended, with the weights of its checkpoint, which is then removed.

        Does nothing if another run has added it: both records are valid, and the first one stays.

        Raises:
            MachineError: If it cannot be written; the checkpoint is kept.
        """
        with self._reporting(f"the record of trial {record.key}"), self._locked():
            if not (self._trials / record.key).exists():
                self._write(record)
        self._failure_file(record.key).unlink(missing_ok=True)
        self.checkpoint_of(record.key).unlink(missing_ok=True)

    @contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        """Turns a failure to write something into a message that says what to do."""
        try:
            yield
        except OSError as error:
            raise MachineError(
                f"cannot write {what} to {self.runs_dir}: {error.strerror or error}. Free some "
                "space or mend the folder; the same command resumes."
            ) from error

    def _write(self, record: TrialRecord) -> None:
        """Writes the record's folder under a temporary name, then renames it."""
        # Loads torch, which reading does not need.
        from ablations.trial.checkpoints import pack_final_weights

        staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=self._trials))
        (staging / WEIGHTS).write_bytes(pack_final_weights(self.checkpoint_of(record.key)))
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
        text = json.dumps(content, indent=1) + "\n"
        write_atomically(staging / DIGEST, _render_digest(text.encode()))
        write_atomically(staging / RECORD, text)
        staging.chmod(0o755)  # mkdtemp makes it readable by the owner only
        staging.rename(self._trials / record.key)

    def add_failure(self, failure: Failure) -> None:
        """Adds the reason why a trial failed; the trial remains to be run.

        Raises:
            MachineError: If it cannot be written.
        """
        with self._reporting(f"why trial {failure.key} failed ({failure.reason})"):
            write_atomically(self._failure_file(failure.key), json.dumps(asdict(failure), indent=1))

    def add_look(self, experiment: str, recipe_name: str, seeds: Sequence[int]) -> None:
        """Adds a look at a table, unless it was looked at with the same seeds before.

        Raises:
            MachineError: If it cannot be written, or the earlier looks cannot be read.
        """
        with self._locked():
            looks = self._read_looks()
            own = looks.setdefault(f"{experiment}/{recipe_name}", [])
            if sorted(seeds) not in own:
                own.append(sorted(seeds))
                with self._reporting("that a table was looked at"):
                    write_atomically(self._looks_file, json.dumps(looks, indent=1) + "\n")

    def list_looks(self, experiment: str, recipe_name: str) -> list[list[int]]:
        """The seeds of all looks at a table, in order."""
        return self._read_looks().get(f"{experiment}/{recipe_name}", [])

    @property
    def _looks_file(self) -> Path:
        return self.runs_dir / "looks.json"

    def _read_looks(self) -> dict[str, list[list[int]]]:
        try:
            return parse_json(_LOOKS, read_regular(self._looks_file, most=LARGEST_RECORD))
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
            return parse_json(_FAILURE, read_regular(self._failure_file(key), most=LARGEST_RECORD))
        except (OSError, ValueError) as error:
            return Failure(key=key, reason=f"its report is unreadable: {error}", details="")

    def _sweep(self) -> None:
        """Removes what killed processes left unfinished.

        Records are written under the lock, which this process holds. Other runs may be writing
        checkpoints and datasets, which are removed when they are old.
        """
        for staging in self._trials.glob(".staging-*"):
            shutil.rmtree(staging)
        newest = time.time() - STALE_SECONDS
        for path in (found for pattern in TEMPORARY for found in self.runs_dir.glob(pattern)):
            with suppress(FileNotFoundError):  # another process has just removed it
                if path.stat().st_mtime < newest:
                    remove_path(path)


def read_record(folder: Path, *, deep: bool = False) -> TrialRecord:
    """Reads a trial's folder, and checks its checksums, identity, curve and outcomes.

    Args:
        folder: The folder.
        deep: Whether to check the checksum of the weights too, rather than only their size.

    Raises:
        OSError: If a file is missing or unreadable.
        ValueError: If a value has the wrong type, or a checksum, a size or the identity differs.
    """
    file = read_regular(folder / RECORD, most=LARGEST_RECORD)
    content = _parse_content(file)
    if (key := make_key(content.facts)) != folder.name:
        raise ValueError(f"{RECORD}: the facts must have the key {folder.name}, got {key}")
    _check_weights(folder / WEIGHTS, content, deep=deep)
    *earlier, last = content.epochs
    outcomes = _unpack_outcomes(read_regular(folder / OUTCOMES, most=LARGEST_RECORD), content)
    record = TrialRecord(
        key=folder.name,
        facts=content.facts,
        epochs=(*earlier, replace(last, correct=outcomes)),
        environment=content.environment,
        finished_at=content.finished_at,
    )
    try:
        check_curve(record)
    except ValueError as error:
        raise ValueError(f"{RECORD}: {error}") from None
    _check_digest(folder / DIGEST, file)
    return record


def _parse_content(file: bytes) -> _Content:
    try:
        return parse_json(_CONTENT, file)
    except ValueError as error:
        raise ValueError(f"{RECORD}: {error}") from None


def _render_digest(file: bytes) -> str:
    return f"{hashlib.sha256(file).hexdigest()}  {RECORD}\n"


def _check_digest(path: Path, file: bytes) -> None:
    try:
        expected = read_regular(path, most=LARGEST_RECORD)
    except FileNotFoundError:
        return  # a record of an earlier version
    if expected != (found := _render_digest(file)).encode():
        raise ValueError(f"{RECORD} must have the checksum in {path.name}, got {found.split()[0]}")


def _check_weights(path: Path, content: _Content, *, deep: bool) -> None:
    size = measure_regular(path)
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
