"""`run-ablation` with a dataset of 8 + 8 blank images: `python -m benchmarks.noop NAME …`.

A trial on it costs next to nothing, so what is measured is the runner.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablations.cli import main_run
from ablations.data import DATASETS, Dataset

SIZE = 32
"""Side of an image in pixels."""
COUNT = 8
"""Images of each split."""

BLANK = Dataset(
    name="blank",
    channels=1,
    image_size=SIZE,
    num_classes=10,
    train_size=COUNT,
    test_size=COUNT,
    mean=(0.5,),
    std=(0.3,),
    reader="benchmarks.noop:draw_blank",
    checksum="ad01bb9982c39fd31da7e26b265809cff74380faf7605cdedef91c45783977d5",
)


def draw_blank(_dataset: Dataset, _data_dir: Path) -> dict[str, NDArray[np.uint8]]:
    """The arrays of the dataset; nothing is read."""
    images = np.zeros((COUNT, 1, SIZE, SIZE), np.uint8)
    labels = np.arange(COUNT, dtype=np.uint8)
    return {
        f"{split}_{kind}": array
        for split in ("train", "test")
        for kind, array in (("images", images), ("labels", labels))
    }


if __name__ == "__main__":
    DATASETS[BLANK.name] = BLANK
    main_run()
