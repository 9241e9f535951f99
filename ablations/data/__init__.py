"""Datasets: the catalogue and what this machine holds (without torch); arrays and batches."""

from ablations.data.catalogue import ARRAY_CROPS, CROP_SCALE, DATASETS, Crop, CropFill, Dataset
from ablations.data.identification import forget_datasets, identify_dataset

__all__ = [
    "ARRAY_CROPS",
    "CROP_SCALE",
    "DATASETS",
    "Crop",
    "CropFill",
    "Dataset",
    "forget_datasets",
    "identify_dataset",
]
