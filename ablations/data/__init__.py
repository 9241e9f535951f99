"""Datasets: the catalogue and what this machine holds (without torch); arrays and batches."""

from ablations.data.catalogue import DATASETS, Crop, Dataset
from ablations.data.identification import identify_dataset

__all__ = ["DATASETS", "Crop", "Dataset", "identify_dataset"]
