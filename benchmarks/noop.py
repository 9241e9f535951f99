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

EXPERIMENTS = """
bodies:
  smallest:
    stem: {width: 8, kernel: 3, stride: 2, pool: false}
    depths: [1]
    mid_widths: [8]
    out_widths: [8]
    input_size: 32
    divisor: 8
recipes:
  quick:
    dataset: blank
    body: smallest
    epochs: 1
    batch_size: 8
    learning_rate: 0.1
    schedule: cosine
    seeds: [0]
experiments:
  noop:
    question: What does the runner take?
    expect: Little.
    base: {branches: [K3, K5]}
    columns: [kernels, attention]
    baseline: sum
    variants:
      sum: {attention: sum}
      SK: {attention: softmax}
"""
"""Two variants; the number of seeds is chosen with `--seeds`."""


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
