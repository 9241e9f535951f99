"""A recording as one file, from which its table and figures are derived."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ablations.attention.records import Recording
from ablations.errors import IncompleteError, MachineError
from ablations.files import parse_json, parse_sealed

FORMAT = 1
"""Version of the file's layout."""

ATTENTION = "attention"
"""Folder of a recording, inside the folder of its study: no recipe's name can be in its way."""

RECORDS = "records.json"
"""Name of the file."""

_RECORDING = TypeAdapter(Recording)


def render_recording(recording: Recording) -> bytes:
    """Renders the file, one line per network; equal recordings give equal bytes."""
    plain = _RECORDING.dump_python(recording, mode="json")
    return _render({"format": FORMAT, "sha256": _seal(plain), **plain})


def read_recording(path: Path) -> Recording:
    """Reads the recording that `render_recording` rendered.

    Raises:
        IncompleteError: If the file was edited or damaged, or is of another version.
        MachineError: If it cannot be read.
    """
    try:
        return parse_recording(path.read_bytes())
    except OSError as error:
        raise MachineError(f"{path} must be readable, got {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise IncompleteError(
            f"{path} is not what `ablations attention` wrote: {error}. Restore it from version "
            "control, or remove its folder and record again."
        ) from error


def parse_recording(content: bytes) -> Recording:
    """Parses the content of the file.

    Raises:
        ValueError: If it was edited or damaged, or is of another version.
    """
    plain = parse_sealed(content, version=FORMAT, seal=_seal)
    return parse_json(_RECORDING, json.dumps(plain).encode())


def _seal(plain: dict[str, Any]) -> str:
    return hashlib.sha256(_render(plain)).hexdigest()


def _render(plain: dict[str, Any]) -> bytes:
    """JSON with one line per entry, and per item of a list, so that version control shows little.

    Raises:
        ValueError: If a number is not finite.
    """
    entries = []
    for key, value in plain.items():
        if key in ("networks", "examples"):
            lines = ",\n".join(f"  {_dump(item)}" for item in value)
            entries.append(f" {_dump(key)}: [\n{lines}\n ]" if value else f" {_dump(key)}: []")
        else:
            entries.append(f" {_dump(key)}: {_dump(value)}")
    return ("{\n" + ",\n".join(entries) + "\n}\n").encode()


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
