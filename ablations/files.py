"""Atomic writes, hashes of values and files, validated JSON, and JSON caches."""

import errno
import hashlib
import json
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ablations.errors import MachineError

T = TypeVar("T")

_OBJECT = TypeAdapter(dict[str, Any])


def check_writable(folder: Path, *, flag: str) -> None:
    """Makes sure that `folder` is writable or can be created, without writing anything.

    Args:
        folder: The folder.
        flag: Command line option that chooses it, for the message.

    Raises:
        MachineError: If it is not writable.
    """
    existing = check_folder(folder, flag=flag)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise MachineError(
            f"{folder} must be a writable folder, but {existing} is not one. Pass another {flag}."
        )


def check_folder(folder: Path, *, flag: str) -> Path:
    """Makes sure that `folder` is one or could be one; returns what exists of its path.

    Args:
        folder: The folder.
        flag: Command line option that chooses it, for the message.

    Raises:
        MachineError: If a file is in its place.
    """
    existing = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    if not existing.is_dir():
        raise MachineError(
            f"{folder} must be a writable folder, but {existing} is not one. Pass another {flag}."
        )
    return existing


def write_atomically(path: Path, content: str | bytes, *, is_durable: bool = True) -> None:
    """Writes a temporary file, then renames it to `path`; text is encoded as UTF-8.

    Args:
        path: The file.
        content: Its content.
        is_durable: Whether to wait until the content has reached the disk.

    Raises:
        OSError: If the folder cannot be created or written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    staging = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
        staging.chmod(0o644)  # mkstemp makes it readable by the owner only
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise


def write_changed(contents: Mapping[str, bytes], folder: Path) -> list[str]:
    """Writes the files whose content differs from what is on disk; returns their names.

    Raises:
        MachineError: If the folder cannot be written to.
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
            f"cannot write the results to {folder}: {error.strerror or error}. Free some space or "
            "mend the folder, or pass another --results-dir."
        ) from error
    return changed


def read_regular(path: Path, *, most: int | None = None) -> bytes:
    """Reads a regular file: not a pipe or device, which could block or never end.

    Args:
        path: The file.
        most: Most bytes that it may have.

    Raises:
        OSError: If it cannot be read, or is no regular file.
        ValueError: If it is larger; nothing is read then.
    """
    size = measure_regular(path)
    if most is not None and size > most:
        raise ValueError(f"the file may have {most:,} bytes, got {size:,}")
    return path.read_bytes()


def measure_regular(path: Path) -> int:
    """The size of a regular file in bytes.

    Raises:
        OSError: If it cannot be found, or is no regular file.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "a pipe or device, not a regular file", str(path))
    return found.st_size


def hash_value(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, in hexadecimal digits.

    Raises:
        ValueError: If the value holds NaN or infinity.

    >>> hash_value({"seed": 0, "procedure": 1}) == hash_value({"procedure": 1, "seed": 0})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_json(adapter: TypeAdapter[T], content: bytes) -> T:
    """Parses JSON and validates its shape.

    Raises:
        ValueError: If it is not JSON or has another shape; one line that names the first fault.
    """
    try:
        return adapter.validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(key) for key in fault["loc"])
        raise ValueError(f"{place}: {fault['msg']}" if place else fault["msg"]) from None


def parse_sealed(
    content: bytes, *, version: int, seal: Callable[[dict[str, Any]], str]
) -> dict[str, Any]:
    """Parses a JSON object that carries its format and its checksum; returns the rest of it.

    Args:
        content: The content of the file.
        version: The format it must have.
        seal: Computes the checksum of the rest.

    Raises:
        ValueError: If it was edited or damaged, or is of another version.
    """
    plain = parse_json(_OBJECT, content)
    found, sealed = plain.pop("format", None), plain.pop("sha256", None)
    if found != version:
        raise ValueError(f"format {found} instead of {version}")
    if sealed != seal(plain):
        raise ValueError("another checksum than that of its content")
    return plain


def read_cache(path: Path) -> dict[str, Any]:
    """The mapping in a JSON cache; empty if the file is missing, unreadable or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write_cache(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON cache; a file that cannot be written is logged, since a cache saves only time.

    Raises:
        TypeError: If the content is not JSON.
    """
    try:
        write_atomically(path, json.dumps(content, indent=1) + "\n", is_durable=False)
    except OSError as error:
        logging.getLogger(__name__).info("cannot write the cache %s: %s", path, error)
