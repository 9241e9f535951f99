"""Files that appear whole or not at all, and folders that can hold them."""

import hashlib
import os
import tempfile
from pathlib import Path

from ablations.errors import MachineError


def check_writable(folder: Path, *, flag: str) -> None:
    """Makes sure that `folder` can be written, or made, without writing anything.

    Raises:
        MachineError: If it cannot.
    """
    existing = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise MachineError(
            f"{folder} must be a writable folder, got {existing}, which cannot be written into. "
            f"Pass another {flag}."
        )


def write_atomically(path: Path, content: str) -> None:
    """Writes a text file under a temporary name, then renames it over `path`.

    Raises:
        OSError: If the folder cannot be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    staging = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staging.chmod(0o644)  # mkstemp lets only the owner read
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
