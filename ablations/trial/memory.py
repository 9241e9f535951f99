"""Lack of memory: how it is recognised, and how memory is returned."""

import gc

import torch


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is a lack of memory of the host or of a GPU."""
    if error is None:
        return False
    is_refused = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or is_refused  # PyTorch on a processor
        or is_out_of_memory(error.__cause__)
    )


def free_memory() -> None:
    """Returns what a failed attempt has left behind, of the GPU too."""
    gc.collect()
    torch.cuda.empty_cache()  # does nothing where no GPU is used
