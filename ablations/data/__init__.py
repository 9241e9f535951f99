"""Datasets by name -> arrays mapped from disk, or a folder of images -> batches on the device."""

from ablations.data.batches import (
    ArraySplit,
    Data,
    Split,
    iterate_test_batches,
    iterate_train_batches,
)
from ablations.data.prepare import load_data, prepare_data

__all__ = [
    "ArraySplit",
    "Data",
    "Split",
    "iterate_test_batches",
    "iterate_train_batches",
    "load_data",
    "prepare_data",
]
