"""Fashion-MNIST and CIFAR-100: every published layout, and faults in it."""

import gzip
import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import compute_md5, pickle_as_published

from ablations.data import files
from ablations.data.arrays import load_data, prepare_data
from ablations.data.catalogue import DATASETS, Dataset
from ablations.data.cifar import read_cifar
from ablations.data.fashion_mnist import read_fashion_mnist, read_validation
from ablations.data.files import download_dataset
from ablations.data.identification import identify_dataset
from ablations.errors import MachineError

CPU = torch.device("cpu")
FASHION = ("train", 5), ("t10k", 3)
CLASSES = 4
SPLITS = {"train": 8, "test": 4}


def write_fashion(data_dir: Path, suffix: str = "") -> Path:
    """Writes a small Fashion-MNIST; returns the folder of its files."""
    folder = data_dir / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for prefix, count in FASHION:
        images = np.arange(count * 784, dtype=np.int64).astype(np.uint8)
        contents = {
            "images-idx3": struct.pack(">4I", 0x803, count, 28, 28) + images.tobytes(),
            "labels-idx1": struct.pack(">2I", 0x801, count) + bytes(range(count)),
        }
        for name, content in contents.items():
            path = folder / f"{prefix}-{name}-ubyte{suffix}"
            path.write_bytes(gzip.compress(content) if suffix else content)
    return folder


def write_cifar100(data_dir: Path, layout: str) -> Dataset:
    """Writes a small CIFAR-100 in one of the published layouts; returns its facts."""
    folder = data_dir / f"cifar-100-{layout}"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for split, count in SPLITS.items():
        images = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
        fine = np.arange(count, dtype=np.uint8) % CLASSES
        path = folder / split
        if layout == "binary":
            rows = np.column_stack([fine // 2, fine, images])
            path.with_suffix(".bin").write_bytes(rows.tobytes())
        else:
            content = {b"data": images, b"fine_labels": fine.tolist(), b"coarse_labels": [9]}
            path.write_bytes(pickle_as_published(content))
    published = compute_md5(data_dir) if layout == "python" else {}
    return replace(
        DATASETS["cifar100"],
        num_classes=CLASSES,
        train_size=SPLITS["train"],
        test_size=SPLITS["test"],
        published_md5=tuple(published.items()) or DATASETS["cifar100"].published_md5,
    )


def pickle_batch(*, labels: object = (1,), width: int = 3072) -> bytes:
    """A batch of one CIFAR-100 image."""
    return pickle_as_published({b"data": np.zeros((1, width), np.uint8), b"fine_labels": labels})


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_is_read(tmp_path: Path, suffix: str) -> None:
    """Its files may be plain or compressed."""
    write_fashion(tmp_path, suffix)

    arrays = read_fashion_mnist(DATASETS["fashion_mnist"], tmp_path)

    assert {name: array.shape for name, array in arrays.items()} == {
        "train_images": (5, 1, 28, 28),
        "train_labels": (5,),
        "test_images": (3, 1, 28, 28),
        "test_labels": (3,),
    }
    assert arrays["train_images"].ravel()[:300].tolist() == [*range(256), *range(44)]
    assert arrays["test_labels"].tolist() == [0, 1, 2]


def test_images_for_tuning_on_fashion_mnist_are_training_images(tmp_path: Path) -> None:
    """A recipe that is tuned on them has not seen the test images."""
    write_fashion(tmp_path)
    original = read_fashion_mnist(DATASETS["fashion_mnist"], tmp_path)

    arrays = read_validation(replace(DATASETS["fashion_mnist_validation"], test_size=2), tmp_path)

    for kind in ("images", "labels"):
        parts = [arrays[f"train_{kind}"], arrays[f"test_{kind}"]]
        assert len(parts[1]) == 2
        assert (np.concatenate(parts) == original[f"train_{kind}"]).all()


def test_images_for_tuning_on_cifar10_are_training_images(tmp_path: Path) -> None:
    """They are the fifth training batch; the test batch is not even read."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for number in range(1, 6):
        record = bytes([number]) + bytes(3072)
        (folder / f"data_batch_{number}.bin").write_bytes(record)

    arrays = read_cifar(DATASETS["cifar10_validation"], tmp_path)

    assert arrays["train_labels"].tolist() == [1, 2, 3, 4]
    assert arrays["test_labels"].tolist() == [5]


@pytest.mark.parametrize(
    ("suffix", "damage", "message"),
    [
        (
            "",
            lambda content: content[:-1],
            "must hold 5 x 28 x 28 bytes, as its header says, got 3919",
        ),
        ("", lambda content: content + b"x", "got 3921"),
        ("", lambda content: content[:9], "must be an idx file"),
        ("", lambda content: content[:4] + bytes(4) + b"\xff" * 8, "must hold 0 x 4294967295"),
        ("", lambda content: content[:4] + b"\0\x40\0\0" * 3, "got 0"),
        ("", lambda _: b"", "starts with nothing"),
        ("", lambda content: b"PK\3\4" + content[4:], "starts with 50 4b 03 04"),
        (".gz", lambda content: content[:-20], "must be a readable file"),
        (".gz", lambda _: b"no archive", "must be a readable file"),
        (".gz", lambda content: content[:40] + b"????" + content[44:], "must be a readable file"),
    ],
)
def test_damaged_files_of_fashion_mnist_are_reported(
    tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes], message: str
) -> None:
    """The message names the file."""
    path = write_fashion(tmp_path, suffix) / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(MachineError, match=f"train-images-idx3-ubyte.* {message}"):
        read_fashion_mnist(DATASETS["fashion_mnist"], tmp_path)


def test_a_compressed_file_is_not_unpacked_without_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 MB may stand for 10 GB, which would take the memory of the machine."""
    folder = write_fashion(tmp_path, ".gz")
    monkeypatch.setattr(files, "LARGEST_FILE", 100_000)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(10**7)))

    with pytest.raises(MachineError, match=r"ubyte.gz must be .* more than 100,000 bytes once dec"):
        read_fashion_mnist(DATASETS["fashion_mnist"], tmp_path)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda p: p.symlink_to("/dev/zero")])
def test_what_is_no_file_is_reported(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Reading a pipe would block, and reading a device would never end."""
    path = write_fashion(tmp_path) / "train-images-idx3-ubyte"
    path.unlink()
    make(path)

    with pytest.raises(MachineError, match=r"must be a readable file of Fashion-MNIST, got a "):
        read_fashion_mnist(DATASETS["fashion_mnist"], tmp_path)


@pytest.mark.parametrize("sizes", [(2**22, 2**21, 2**21), (0, 2**32 - 1, 2**32 - 1), (1, 1, 1)])
def test_sizes_whose_product_overflows_are_reported(
    tmp_path: Path, sizes: tuple[int, int, int]
) -> None:
    """Modulo 2**64 the first is 0, which is the number of its values."""
    path = write_fashion(tmp_path) / "train-images-idx3-ubyte"
    path.write_bytes(struct.pack(">4I", 0x803, *sizes))

    with pytest.raises(MachineError, match=r"must hold \d+ x \d+ x \d+ bytes"):
        read_fashion_mnist(DATASETS["fashion_mnist"], tmp_path)


def test_a_missing_file_of_fashion_mnist_is_reported(tmp_path: Path) -> None:
    """The message names it."""
    (write_fashion(tmp_path) / "t10k-labels-idx1-ubyte").unlink()

    with pytest.raises(MachineError, match="t10k-labels-idx1-ubyte must be a readable file"):
        read_fashion_mnist(DATASETS["fashion_mnist"], tmp_path)


def test_images_other_than_the_published_ones_are_refused(tmp_path: Path) -> None:
    """Errors on other images would be reported as those of Fashion-MNIST."""
    write_fashion(tmp_path)

    with pytest.raises(MachineError, match="fashion_mnist must have the checksum"):
        prepare_data(DATASETS["fashion_mnist"], data_dir=tmp_path, cache_dir=tmp_path / "cache")

    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("layout", ["python", "binary"])
def test_both_layouts_of_cifar100_are_read(tmp_path: Path, layout: str) -> None:
    """Both give the same images, with the fine labels."""
    dataset = identify_dataset(write_cifar100(tmp_path, layout), tmp_path)
    prepare_data(dataset, data_dir=tmp_path, cache_dir=tmp_path / "cache")

    data = load_data(dataset, cache_dir=tmp_path / "cache", device=CPU)

    expected = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), dtype=np.uint8)
    assert (data.train.images.numpy() == expected).all()
    assert data.train.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert len(data.test) == 4


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_md5_sums_of_cifar_are_the_published_ones(name: str) -> None:
    """Torchvision has the same."""
    from torchvision import datasets

    reference = getattr(datasets, str(DATASETS[name].download))
    published = [
        (f"{reference.base_folder}/{file}", md5)
        for file, md5 in [*reference.train_list, *reference.test_list]
    ]

    assert list(DATASETS[name].published_md5) == published


@pytest.mark.parametrize("layout", ["python", "binary"])
def test_changed_files_of_cifar100_are_refused_or_change_the_identity(
    tmp_path: Path, layout: str
) -> None:
    """A published MD5 must match; where there is none, the content is the identity."""
    dataset = write_cifar100(tmp_path / "a", layout)
    [first, *_] = sorted((tmp_path / "a").rglob("train*"))
    write_cifar100(tmp_path / "b", layout)
    [second, *_] = sorted((tmp_path / "b").rglob("train*"))
    content = bytearray(first.read_bytes())
    content[-500 if layout == "binary" else 500] ^= 1
    second.write_bytes(content)

    there, other = (identify_dataset(dataset, tmp_path / name) for name in "ab")

    if layout == "binary":
        assert there.identity != other.identity
        assert there.identity != dataset.identity
    else:
        assert there.identity == other.identity == dataset.identity
        with pytest.raises(MachineError, match="train must have the MD5"):
            prepare_data(other, data_dir=tmp_path / "b", cache_dir=tmp_path / "cache")
    with pytest.raises(MachineError, match=r"must have the MD5|must hold the images"):
        prepare_data(there, data_dir=tmp_path / "b", cache_dir=tmp_path / "cache")


def test_the_layout_with_published_md5_sums_is_preferred(tmp_path: Path) -> None:
    """It identifies the dataset if both layouts exist, or neither."""
    binary = write_cifar100(tmp_path, "binary")
    dataset = write_cifar100(tmp_path, "python")

    assert identify_dataset(dataset, tmp_path).identity == dataset.identity
    assert identify_dataset(binary, tmp_path / "elsewhere").identity == binary.identity
    assert binary.identity.startswith("cifar-100-python/train:16019d7e")


def test_the_cache_of_an_unpinned_dataset_is_verified(tmp_path: Path) -> None:
    """The checksum measured on reading is used; a damaged cache is recreated."""
    dataset = write_cifar100(tmp_path, "python")
    folder = prepare_data(dataset, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    written = (folder / "checksum.txt").stat().st_mtime_ns
    prepare_data(dataset, data_dir=tmp_path / "not needed", cache_dir=tmp_path / "cache")
    assert (folder / "checksum.txt").stat().st_mtime_ns == written
    np.save(folder / "test_labels.npy", np.zeros(4, np.uint8))

    prepare_data(dataset, data_dir=tmp_path, cache_dir=tmp_path / "cache")

    assert np.load(folder / "test_labels.npy").tolist() == [0, 1, 2, 3]
    assert len((folder / "checksum.txt").read_text().strip()) == 64


def test_missing_images_of_cifar100_are_reported(tmp_path: Path) -> None:
    """A file may be truncated between two images."""
    dataset = write_cifar100(tmp_path, "binary")
    path = tmp_path / "cifar-100-binary" / "test.bin"
    path.write_bytes(path.read_bytes()[: 3 * 3074])
    dataset = identify_dataset(dataset, tmp_path)

    with pytest.raises(MachineError, match=r"1 test images in each of 4 classes, got 0 to 1"):
        prepare_data(dataset, data_dir=tmp_path, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("layout", "name", "content", "message"),
    [
        ("binary", "test.bin", b"x" * 3000, "whole number of records of 3074 bytes, got 3000"),
        ("binary", "test.bin", None, "test.bin must be a readable file of CIFAR-100"),
        ("python", "test", None, "test must be a readable file of CIFAR-100"),
        ("python", "test", b"", "test must be a batch of CIFAR-100 for Python, got EOFError"),
        ("python", "test", b"x", "test must be a batch of CIFAR-100 for Python"),
        ("python", "train", pickle.dumps({b"data": [], b"labels": []}), "KeyError: b'fine_labels'"),
        ("python", "train", pickle.dumps([1]), "TypeError"),
        ("python", "train", pickle_batch(labels=[]), "got 1 images and 0 labels"),
        ("python", "train", pickle_batch(labels=[[1]]), "TypeError"),
        ("python", "train", pickle_batch(labels=[256]), "ValueError: bytes must be in range"),
        ("python", "train", pickle_batch(labels=2**70), "OverflowError"),
        ("python", "train", pickle_batch(width=3071), "ValueError: cannot reshape"),
    ],
)
def test_damaged_files_of_cifar100_are_reported(
    tmp_path: Path, layout: str, name: str, content: bytes | None, message: str
) -> None:
    """The message names the file."""
    dataset = write_cifar100(tmp_path, layout)
    path = tmp_path / f"cifar-100-{layout}" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    dataset = replace(dataset, published_md5=tuple(compute_md5(tmp_path).items()))

    with pytest.raises(MachineError, match=message):
        read_cifar(dataset, tmp_path)


READ = [own for own in DATASETS.values() if not own.name.startswith("multiscale_digits")]


@pytest.mark.parametrize("dataset", READ, ids=lambda dataset: dataset.name)
def test_a_download_is_advised_where_there_is_one(tmp_path: Path, dataset: Dataset) -> None:
    """A validation set has the files of the dataset that it is a part of."""
    with pytest.raises(MachineError) as caught:
        prepare_data(dataset, data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")

    assert ("--download" in str(caught.value)) == (dataset.download is not None)


DOWNLOADS = [dataset for dataset in DATASETS.values() if dataset.download]


@pytest.mark.parametrize("dataset", DOWNLOADS, ids=lambda dataset: dataset.name)
def test_a_failed_download_is_reported(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torchvision knows every dataset that can be downloaded; the message says what else to do."""
    from torchvision import datasets

    def fail(root: str, *, download: bool) -> None:
        raise OSError(f"no way to {root}" if download else "")

    monkeypatch.setattr(datasets, str(dataset.download), fail)

    with pytest.raises(MachineError, match=f"{dataset.name} cannot be downloaded to .* by hand"):
        download_dataset(dataset, tmp_path)
