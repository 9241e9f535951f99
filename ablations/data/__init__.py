"""Datasets by name -> uint8 arrays on disk, mapped; batches and augmentation on the device."""

from ablations.data.batches import Data, Split, iterate_test_batches, iterate_train_batches
from ablations.data.prepare import load_data, prepare_data

__all__ = [
    "Data",
    "Split",
    "iterate_test_batches",
    "iterate_train_batches",
    "load_data",
    "prepare_data",
]
