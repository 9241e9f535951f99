"""Checkpoints: files of a trial's state that are either whole or noticed to be damaged."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ablations.files import write_atomically

DIGEST_BYTES = hashlib.sha256().digest_size
"""Length of the checksum at the beginning of a file; PyTorch does not notice changed bytes."""


def write_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Writes a checkpoint atomically, with its checksum.

    Raises:
        OSError: If it cannot be written; the earlier one is kept.
    """
    write_atomically(path, pack_checkpoint(content), is_durable=False)


def pack_checkpoint(content: Mapping[str, Any]) -> bytes:
    """The bytes of a checkpoint, which begin with their checksum."""
    payload = _serialise(content)
    return hashlib.sha256(payload).digest() + payload


def pack_final_weights(path: Path) -> bytes:
    """The network's weights and buffers in a checkpoint, as the bytes of a file of PyTorch.

    Raises:
        OSError: If the checkpoint cannot be read, or is damaged.
    """
    return _serialise(read_final_weights(path))


def _serialise(content: Mapping[str, Any]) -> bytes:
    """What `torch.save` writes; into a file, it raises no OSError if the disk is full."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    return buffer.getvalue()


def read_checkpoint(path: Path, *, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads a checkpoint that `write_checkpoint` wrote.

    Raises:
        OSError: If it cannot be read, or its bytes have changed.
    """
    file = path.read_bytes()
    if hashlib.sha256(memoryview(file)[DIGEST_BYTES:]).digest() != file[:DIGEST_BYTES]:
        raise OSError(f"{path} is damaged: its checksum differs")
    payload = io.BytesIO(file[DIGEST_BYTES:])
    content: dict[str, Any] = torch.load(payload, map_location=device, weights_only=True)
    return content


def read_final_weights(path: Path) -> dict[str, torch.Tensor]:
    """The network's weights and buffers in a checkpoint, on the CPU.

    Raises:
        OSError: If the checkpoint cannot be read, or is damaged.
    """
    weights: dict[str, torch.Tensor] = read_checkpoint(path)["network"]
    return weights
