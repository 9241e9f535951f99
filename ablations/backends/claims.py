"""Claims: which process trains a trial, so that several runs on one folder share the work.

A claim is a lock on a file. It ends with the process that holds it at the latest, so a run that was
killed leaves none behind.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ablations.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A trial that this process may train until it releases the claim."""

    lock: FileLock
    """The lock, which is held."""

    record: Path
    """Where the record of the trial will be."""

    def release(self) -> None:
        """Lets other processes claim the trial, unless it has been recorded."""
        if self.record.exists():  # whoever locks the file from now on finds the record
            Path(self.lock.lock_file).unlink(missing_ok=True)
        self.lock.release()


def claim_trial(key: str, workspace: Workspace) -> Claim | None:
    """Claims a trial for this process.

    Args:
        key: The trial.
        workspace: Where its record and the claims are.

    Returns:
        None if another process trains the trial, or it has a record by now.
    """
    workspace.claims_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workspace.claims_dir / f"{key}.lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    claim = Claim(lock=lock, record=workspace.trials_dir / key)
    if claim.record.exists():
        claim.release()
        return None
    return claim


@contextmanager
def claiming(key: str, workspace: Workspace) -> Iterator[bool]:
    """Claims a trial for the duration of a `with` block; yields whether it could be claimed."""
    claim = claim_trial(key, workspace)
    try:
        yield claim is not None
    finally:
        if claim is not None:
            claim.release()
