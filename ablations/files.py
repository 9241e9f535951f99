"""Files that appear whole or not at all, and folders that can hold them."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
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


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file under a temporary name, then renames it over `path`; texts are UTF-8.

    Raises:
        OSError: If the folder cannot be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    staging = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        staging.chmod(0o644)  # mkstemp lets only the owner read
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise


def write_changed(contents: Mapping[str, bytes], folder: Path) -> list[str]:
    """Writes those files whose content is another; returns their names.

    Raises:
        MachineError: If the folder cannot be written.
    """
    try:
        changed = [
            name
            for name, content in contents.items()
            if not (folder / name).is_file() or (folder / name).read_bytes() != content
        ]
        for name in changed:
            write_atomically(folder / name, contents[name])
    except OSError as error:
        raise MachineError(
            f"{folder} must be a writable folder, got {error.strerror}. Pass another --results-dir."
        ) from error
    return changed


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
