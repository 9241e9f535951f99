"""Small things that many tests need: a dataset of random images, a trial on it, its YAML."""

import hashlib
import io
import os
import pickle
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from ablations.backends import Backend, BackendName, Job
from ablations.config import Recipe
from ablations.data import arrays, catalogue
from ablations.data.catalogue import Dataset
from ablations.plans import TrialSpec
from ablations.trial.checkpoints import read_final_weights
from ablations.trial.environment import Commit
from ablations.workspace import Workspace
from sknet.zoo import NETWORKS

ROOT = Path(__file__).parents[1]

os.environ.pop("COLUMNS", None)  # workers of pytest-xdist have it, and rich keeps what it reads

SYNTHETIC = Dataset(
    name="synthetic",
    channels=1,
    image_size=32,
    num_classes=10,
    train_size=64,
    test_size=40,
    mean=(0.5,),
    std=(0.3,),
    checksum="",  # set below, from the arrays
)


def make_arrays() -> dict[str, np.ndarray]:
    """Bright squares whose place tells the label: learnable in an epoch or two."""
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 64), ("test", 40)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = generator.integers(0, 100, (count, 1, 32, 32), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 4)
            image[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 150
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    return arrays


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """The random images' facts, with the checksum of their arrays."""
    return replace(SYNTHETIC, checksum=arrays.compute_checksum(make_arrays()))


@pytest.fixture
def cache_dir(tmp_path: Path, dataset: Dataset) -> Path:
    """A folder that holds the random images as `prepare_data` leaves them."""
    folder = tmp_path / "runs" / "datasets" / f"synthetic-{dataset.checksum[:12]}"
    folder.mkdir(parents=True)
    for name, array in make_arrays().items():
        np.save(folder / f"{name}.npy", array)
    return folder.parent


@pytest.fixture
def recipe() -> Recipe:
    """Two epochs, four steps each."""
    return Recipe(
        dataset="multiscale_digits",
        body="tiny",
        epochs=2,
        batch_size=16,
        learning_rate=0.1,
        schedule="cosine",
        weight_decay=1e-4,
        crop="pad",
        crop_padding=2,
        flip=True,
        seeds=(0, 1),
    )


@pytest.fixture
def spec(dataset: Dataset, recipe: Recipe) -> TrialSpec:
    """A tiny SKNet on the random images."""
    network = replace(NETWORKS["sknet_tiny"], in_channels=1)
    return TrialSpec(network=network, recipe=recipe, dataset=dataset, seed=0)


@pytest.fixture
def impossible_spec(spec: TrialSpec) -> TrialSpec:
    """A trial that raises, since its dataset was never prepared."""
    return replace(spec, dataset=replace(spec.dataset, name="absent"))


@pytest.fixture
def make_job(cache_dir: Path) -> Callable[..., Job]:
    """Builds a job that runs the given specs on the CPU."""

    def make(*specs: TrialSpec, backend: BackendName = "local", retries: int = 0) -> Job:
        return Job(
            specs=specs,
            workspace=Workspace(runs_dir=cache_dir.parent),
            backend=Backend(name=backend, gpus_per_trial=0, retries=retries),
            commit=Commit(sha=None, dirty=None),
        )

    return make


class _Python2Pickler(pickle._Pickler):
    """Writes all texts and bytes as Python 2 wrote its strings."""

    def save_string(self, value: str | bytes) -> None:
        content = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, bytes: save_string, str: save_string}


def pickle_as_published(batch: object) -> bytes:
    """A batch of CIFAR as its authors pickled it: by Python 2, with the NumPy of that time."""
    buffer = io.BytesIO()
    _Python2Pickler(buffer, protocol=2).dump(batch)
    return buffer.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def compute_md5(data_dir: Path) -> dict[str, str]:
    """The MD5 of each file below a folder, by its path there."""
    return {
        path.relative_to(data_dir).as_posix(): hashlib.md5(path.read_bytes()).hexdigest()
        for path in data_dir.rglob("*")
        if path.is_file()
    }


def assert_same_weights(first: Path, second: Path) -> None:
    """Two checkpoints hold the same weights, to the bit."""
    weights, others = read_final_weights(first), read_final_weights(second)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def seal(svg: str) -> str:
    """A drawing with the digests that fit it, as anyone can compute them."""
    stamp = re.compile("<!-- data (.{64}), drawing .{64} -->\n")
    [data] = stamp.findall(svg)
    digest = hashlib.sha256(f"{data}\n{stamp.sub('', svg)}".encode()).hexdigest()
    return stamp.sub(f"<!-- data {data}, drawing {digest} -->\n", svg)


EXPERIMENTS = """
bodies:
  wee:
    stem: {width: 8, kernel: 3, stride: 2, pool: false}
    depths: [1]
    mid_widths: [16]
    out_widths: [16]
    input_size: 32
    divisor: 8
recipes:
  quick: &quick
    dataset: synthetic
    body: wee
    epochs: 2
    batch_size: 16
    learning_rate: 0.1
    schedule: cosine
    weight_decay: 1e-4
    seeds: [0, 1, 2]
experiments:
  kernels:
    question: Which second kernel?
    expect: The larger.
    paper_table: sknet.table6_dilation_group
    columns: [kernel, dilation, groups, resulting_kernel]
    baseline: 3x3, D=2, G=32
    variants:
      3x3, D=2, G=32: {branches: [K3, K5]}
      3x3, D=1, G=32: {branches: [K3, K3]}
  attention:
    question: Does attention help?
    expect: It does.
    base: {branches: [K3, K5]}
    columns: [kernels, attention]
    baseline: sum
    variants:
      sum: {attention: sum}
      SK: {attention: softmax}
"""


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(
    tmp_path: Path,
    cache_dir: Path,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Answer]:
    """Runs a command in this process, in a folder with experiments on the random images.

    The images are there already (`cache_dir`), under `runs/`. There is no GPU, and throughput is
    not measured but given.
    """
    from ablations import cli
    from ablations.estimate import measurement, throughput

    speed = {"train_images_per_second": 100.0, "test_images_per_second": 400.0}
    measured = throughput.Throughput(macs=10**6, batch_size=16, **speed)
    monkeypatch.setattr(measurement, "measure_throughput", lambda *_, **__: measured)
    monkeypatch.setattr(throughput, "_list_gpus", list)
    assert cache_dir.is_relative_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setitem(catalogue.DATASETS, "synthetic", dataset)
    (tmp_path / "experiments.yaml").write_text(EXPERIMENTS)

    def run(name: str, *arguments: str) -> Answer:
        entry = {"ablations": cli.main, "run-ablation": cli.main_run}[name]
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            entry()
        captured = capsys.readouterr()
        return Answer(int(exit_info.value.code or 0), captured.out, captured.err)

    return run
