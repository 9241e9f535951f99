"""The ledger: what is known of each trial, on disk and crash-safe. It is the one truth.

A finished trial is a folder `trials/<key>` with `record.json`, `correct.npy` (one bit per test
image) and `weights.pt`. It is created by one atomic rename, contains everything that a table needs,
and is valid in any `runs/` directory.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from ablations.errors import MachineError
from ablations.files import hash_file, write_atomically
from ablations.plans import make_key
from ablations.trial.records import ENVIRONMENT_CODEC, EPOCH_CODEC, TrialRecord

FORMAT = 1
"""Version of the record's layout."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A trial that raised on every attempt."""

    key: str
    """Identity of the trial."""

    reason: str
    """Last line of the error."""

    details: str
    """The stack trace."""


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

    def examine(self, keys: Iterable[str]) -> Findings:
        """Reads and checks everything known of some trials; changes nothing."""
        records: dict[str, TrialRecord] = {}
        failures: dict[str, Failure] = {}
        corrupt: dict[str, str] = {}
        for key in keys:
            if (self._trials / key).exists():
                try:
                    records[key] = self._read_once(key)
                except (OSError, ValueError, KeyError, TypeError) as error:
                    corrupt[key] = f"{type(error).__name__}: {error}"
            elif (failure := self._read_failure(key)) is not None:
                failures[key] = failure
        return Findings(records=records, failures=failures, corrupt=corrupt)

    def _read_once(self, key: str) -> TrialRecord:
        """The record of a trial; it is read and hashed again only if it was rewritten."""
        written = (self._trials / key / "record.json").stat().st_mtime_ns
        if self._read.get(key, (None,))[0] != written:
            self._read[key] = (written, read_record(self._trials / key))
        return self._read[key][1]

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
        torch.save(read_final_weights(self.checkpoint_of(record.key)), staging / "weights.pt")
        np.save(staging / "correct.npy", np.packbits(np.frombuffer(record.last.correct or b"", bool)))
        content = {
            "format": FORMAT,
            "trial": record.key,
            "state": record.state,
            "facts": record.facts,
            "epochs": record.curve(),
            "test_images": len(record.last.correct or ()),
            "environment": asdict(record.environment),
            "finished_at": record.finished_at,
            "sha256": {name: hash_file(staging / name) for name in ("correct.npy", "weights.pt")},
        }
        write_atomically(staging / "record.json", json.dumps(content, indent=1) + "\n")
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
            looks: dict[str, list[list[int]]] = json.loads(self._looks_file.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise MachineError(
                f"{self._looks_file} must hold the looks at tables as JSON, got {error}. "
                "Repair it; without it the error rate of tables is unknown."
            ) from error
        return looks

    def _failure_file(self, key: str) -> Path:
        return self._failures / f"{key}.json"

    def _read_failure(self, key: str) -> Failure | None:
        try:
            return Failure(**json.loads(self._failure_file(key).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            return Failure(key=key, reason=f"its report is unreadable: {error}", details="")

    def _sweep(self) -> None:
        """Removes unfinished records that a killed process left behind."""
        for staging in self._trials.glob(".staging-*"):
            shutil.rmtree(staging)


def read_record(folder: Path) -> TrialRecord:
    """Reads a trial's folder, and checks its checksums, identity and outcomes.

    Raises:
        OSError: If a file is missing or unreadable.
        ValueError: If a value has the wrong type, a checksum or the identity differs.
        KeyError: If a field is missing.
        TypeError: If a field has another type.
    """
    content = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    if content["format"] != FORMAT:
        raise ValueError(f"format must be {FORMAT}, got {content['format']}")
    for name, expected in content["sha256"].items():
        if hash_file(folder / name) != expected:
            raise ValueError(f"{name} must have the checksum {expected}, got another")
    if make_key(content["facts"]) != folder.name:
        raise ValueError(f"the facts must have the key {folder.name}, got {content['trial']}")
    bits = np.load(folder / "correct.npy")
    correct = np.unpackbits(bits, count=content["test_images"]).astype(bool)
    *earlier, last = content["epochs"]
    return TrialRecord(
        key=folder.name,
        facts=content["facts"],
        epochs=(
            *map(EPOCH_CODEC.validate_python, earlier),
            EPOCH_CODEC.validate_python({**last, "correct": correct.tobytes()}),
        ),
        environment=ENVIRONMENT_CODEC.validate_python(content["environment"]),
        finished_at=float(content["finished_at"]),
    )
