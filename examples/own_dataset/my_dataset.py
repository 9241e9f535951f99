"""Scikit-learn's handwritten digits at four times their size, as a dataset of one's own."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits


def load(data_dir: Path) -> dict[str, Any]:
    """Images (N, 32, 32) uint8 and labels (N,) of both splits; every fourth digit is for testing.

    `data_dir` is the folder of --data-dir. These digits come with scikit-learn, so it is not used.
    """
    digits = load_digits()  # images (1797, 8, 8), from 0 to 16
    images = (digits.images * 255 / 16).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    is_test = np.arange(len(images)) % 4 == 0
    return {
        "train_images": images[~is_test],
        "train_labels": digits.target[~is_test],
        "test_images": images[is_test],
        "test_labels": digits.target[is_test],
    }
