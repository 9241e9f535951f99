"""Datasets: the catalogue and what this machine holds (no torch); arrays and batches of them."""

from ablations.data.catalogue import DATASETS, Dataset
from ablations.data.identification import identify_dataset

__all__ = ["DATASETS", "Dataset", "identify_dataset"]
