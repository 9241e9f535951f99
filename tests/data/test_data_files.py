"""Fashion-MNIST and CIFAR-100: every layout that is published, and every fault it may have."""

import gzip
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import compute_md5, pickle_as_published

from ablations.data.arrays import load_data, prepare_data
from ablations.data.catalogue import DATASETS, Dataset
from ablations.data.cifar import CIFAR100, read_cifar
from ablations.data.fashion_mnist import read_fashion_mnist
from ablations.data.files import TORCHVISION_NAMES, download_dataset
from ablations.data.identification import identify_dataset
from ablations.errors import MachineError

CPU = torch.device("cpu")
FASHION = ("train", 5), ("t10k", 3)
CLASSES = 4
SPLITS = {"train": 8, "test": 4}


def write_fashion(data_dir: Path, suffix: str = "") -> Path:
    """A small Fashion-MNIST; returns the folder of its files."""
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
    """A small CIFAR-100 in one of its authors' layouts; returns its facts."""
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
    """One image of CIFAR-100 with its labels."""
    return pickle_as_published({b"data": np.zeros((1, width), np.uint8), b"fine_labels": labels})


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_is_read(tmp_path: Path, suffix: str) -> None:
    """Plain or compressed, as it is downloaded."""
    write_fashion(tmp_path, suffix)

    arrays = read_fashion_mnist(tmp_path)

    assert {name: array.shape for name, array in arrays.items()} == {
        "train_images": (5, 1, 28, 28),
        "train_labels": (5,),
        "test_images": (3, 1, 28, 28),
        "test_labels": (3,),
    }
    assert arrays["train_images"].ravel()[:300].tolist() == [*range(256), *range(44)]
    assert arrays["test_labels"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("suffix", "damage", "message"),
    [
        ("", lambda content: content[:-1], "must hold 5 x 28 x 28 bytes as it says, got 3919"),
        ("", lambda content: content + b"x", "got 3921"),
        ("", lambda content: content[:9], "must be an idx file"),
        ("", lambda _: b"", "starts with nothing"),
        ("", lambda content: b"PK\3\4" + content[4:], "starts with 50 4b 03 04"),
        (".gz", lambda content: content[:-20], "must be a readable file"),
        (".gz", lambda _: b"no archive", "must be a readable file"),
        (".gz", lambda content: content[:40] + b"????" + content[44:], "must be a readable file"),
    ],
)
def test_damaged_files_of_fashion_mnist_are_refused(
    tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes], message: str
) -> None:
    """With the name of the file."""
    path = write_fashion(tmp_path, suffix) / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(MachineError, match=f"train-images-idx3-ubyte.* {message}"):
        read_fashion_mnist(tmp_path)


def test_a_missing_file_of_fashion_mnist_is_told(tmp_path: Path) -> None:
    """With its name."""
    (write_fashion(tmp_path) / "t10k-labels-idx1-ubyte").unlink()

    with pytest.raises(MachineError, match="t10k-labels-idx1-ubyte must be a readable file"):
        read_fashion_mnist(tmp_path)


def test_other_images_than_the_published_ones_are_refused(tmp_path: Path) -> None:
    """A number on another dataset would be called Fashion-MNIST's."""
    write_fashion(tmp_path)

    with pytest.raises(MachineError, match="fashion_mnist must have the checksum"):
        prepare_data(DATASETS["fashion_mnist"], data_dir=tmp_path, cache_dir=tmp_path / "cache")

    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("layout", ["python", "binary"])
def test_both_layouts_of_cifar100_are_read(tmp_path: Path, layout: str) -> None:
    """The same images come out of either, with the fine labels."""
    dataset = identify_dataset(write_cifar100(tmp_path, layout), tmp_path)
    prepare_data(dataset, data_dir=tmp_path, cache_dir=tmp_path / "cache")

    data = load_data(dataset, cache_dir=tmp_path / "cache", device=CPU)

    expected = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), dtype=np.uint8)
    assert (data.train.images.numpy() == expected).all()
    assert data.train.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert len(data.test) == 4


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_md5_of_cifar_are_the_published_ones(name: str) -> None:
    """Those that torchvision holds."""
    from torchvision import datasets

    reference = getattr(datasets, TORCHVISION_NAMES[name])
    published = [
        (f"{reference.base_folder}/{file}", md5)
        for file, md5 in [*reference.train_list, *reference.test_list]
    ]

    assert list(DATASETS[name].published_md5) == published


@pytest.mark.parametrize("layout", ["python", "binary"])
def test_other_content_of_cifar100_is_refused_or_told_apart(tmp_path: Path, layout: str) -> None:
    """Where an MD5 is published it must fit; where none is, the content is the identity."""
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
    with pytest.raises(MachineError, match=r"must have the MD5|must hold what the plan"):
        prepare_data(there, data_dir=tmp_path / "b", cache_dir=tmp_path / "cache")


def test_the_layout_that_can_be_checked_is_preferred(tmp_path: Path) -> None:
    """If both are there, or none."""
    binary = write_cifar100(tmp_path, "binary")
    dataset = write_cifar100(tmp_path, "python")

    assert identify_dataset(dataset, tmp_path).identity == dataset.identity
    assert identify_dataset(binary, tmp_path / "elsewhere").identity == binary.identity
    assert binary.identity.startswith("cifar-100-python/train:16019d7e")


def test_a_dataset_that_is_not_pinned_is_kept_and_checked(tmp_path: Path) -> None:
    """By the checksum that was measured when it was read; a damaged cache is made anew."""
    dataset = write_cifar100(tmp_path, "python")
    folder = prepare_data(dataset, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    written = (folder / "checksum.txt").stat().st_mtime_ns
    prepare_data(dataset, data_dir=tmp_path / "not needed", cache_dir=tmp_path / "cache")
    assert (folder / "checksum.txt").stat().st_mtime_ns == written
    np.save(folder / "test_labels.npy", np.zeros(4, np.uint8))

    prepare_data(dataset, data_dir=tmp_path, cache_dir=tmp_path / "cache")

    assert np.load(folder / "test_labels.npy").tolist() == [0, 1, 2, 3]
    assert len((folder / "checksum.txt").read_text().strip()) == 64


def test_cifar100_must_have_all_images(tmp_path: Path) -> None:
    """A file may be cut between two images."""
    dataset = write_cifar100(tmp_path, "binary")
    path = tmp_path / "cifar-100-binary" / "test.bin"
    path.write_bytes(path.read_bytes()[: 3 * 3074])
    dataset = identify_dataset(dataset, tmp_path)

    with pytest.raises(MachineError, match=r"1 test images of each of 4 classes, got 0 to 1"):
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
def test_damaged_files_of_cifar100_are_refused(
    tmp_path: Path, layout: str, name: str, content: bytes | None, message: str
) -> None:
    """With the name of the file."""
    write_cifar100(tmp_path, layout)
    path = tmp_path / f"cifar-100-{layout}" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)

    with pytest.raises(MachineError, match=message):
        read_cifar(CIFAR100, tmp_path, md5=compute_md5(tmp_path))


def test_every_download_has_a_name_in_torchvision() -> None:
    """And nothing else is promised."""
    from torchvision import datasets

    assert all(hasattr(datasets, name) for name in TORCHVISION_NAMES.values())
    assert TORCHVISION_NAMES.keys() <= DATASETS.keys()


@pytest.mark.parametrize("name", TORCHVISION_NAMES)
def test_a_failed_download_is_told(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the way out."""
    from torchvision import datasets

    def fail(root: str, *, download: bool) -> None:
        raise OSError(f"no way to {root}" if download else "")

    monkeypatch.setattr(datasets, TORCHVISION_NAMES[name], fail)

    with pytest.raises(MachineError, match=f"{name} must be downloaded to .* Put the files there"):
        download_dataset(name, tmp_path)
