"""Errors that are a lack of memory."""

import pytest
import torch

from ablations.trial.memory import is_out_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("shapes differ"), False),
        (KeyError("memory"), False),
    ],
)
def test_what_counts_as_a_lack_of_memory(error: Exception, expected: bool) -> None:
    """Of the host and of a GPU, also if the error of a user's module wraps it."""
    wrapping = ValueError("in the network")
    wrapping.__cause__ = error

    assert is_out_of_memory(error) is expected
    assert is_out_of_memory(wrapping) is expected
