"""Datasets are read byte for byte, and augmented as the recipe says."""

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

from ablations.data import cifar
from ablations.data.arrays import compute_checksum, load_data, prepare_data
from ablations.data.batches import (
    ALONE,
    Augmentation,
    Data,
    Distortion,
    Replica,
    crop_padded,
    distort,
    flip_some,
    iterate_train_batches,
    normalise,
    rotate,
)
from ablations.data.catalogue import DATASETS, Dataset
from ablations.data.cifar import read_cifar
from ablations.data.digits import draw_digits
from ablations.errors import MachineError

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["multiscale_digits", "multiscale_digits_validation"])
def test_digits_match_their_pinned_checksum(tmp_path: Path, name: str) -> None:
    """The bytes are the same with every version of every library; the cache is reused."""
    folder = prepare_data(DATASETS[name], data_dir=tmp_path, cache_dir=tmp_path)
    written = (folder / "train_images.npy").stat().st_mtime_ns

    prepare_data(DATASETS[name], data_dir=tmp_path, cache_dir=tmp_path)
    data = load_data(DATASETS[name], cache_dir=tmp_path, device=CPU)

    assert (folder / "train_images.npy").stat().st_mtime_ns == written
    assert (len(data.train), len(data.test)) == (6000, 2000)
    images = data.train.images.float() / 255
    assert images.mean().item() == pytest.approx(DATASETS[name].mean[0], abs=1e-3)
    assert images.std().item() == pytest.approx(DATASETS[name].std[0], abs=1e-3)


def test_digits_cover_all_sizes_and_classes() -> None:
    """Sizes range from 8 to 28 pixels, and every digit appears about equally often."""
    digits = replace(DATASETS["multiscale_digits"], train_size=600, test_size=300)

    drawn = draw_digits(digits, Path())

    for split in ("train", "test"):
        sizes, labels = drawn[f"{split}_sizes"], drawn[f"{split}_labels"]
        assert (sizes.min(), sizes.max()) == (8, 28)
        assert np.bincount(labels, minlength=10).min() > 0.05 * len(labels)


def swap_labels(path: Path) -> None:
    """Reverses the labels of a split."""
    np.save(path, np.load(path)[::-1])


@pytest.mark.parametrize(
    "damage",
    [
        swap_labels,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"no array"),
        lambda path: path.write_bytes(pickle.dumps([])),
        Path.unlink,
    ],
)
def test_a_damaged_cache_is_recreated(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    """Whatever happened to its files."""
    digits = replace(DATASETS["multiscale_digits"], train_size=20, test_size=10)
    checksum = compute_checksum(draw_digits(digits, tmp_path))
    digits = replace(digits, checksum=checksum)
    folder = prepare_data(digits, data_dir=tmp_path, cache_dir=tmp_path)
    labels = np.load(folder / "test_labels.npy")
    damage(folder / "test_labels.npy")

    prepare_data(digits, data_dir=tmp_path, cache_dir=tmp_path)

    assert (np.load(folder / "test_labels.npy") == labels).all()


def write_cifar(folder: Path, layout: str, count: int = 3) -> np.ndarray:
    """Writes a small CIFAR-10 in one of the published layouts; returns the training images."""
    generator = np.random.default_rng(0)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    (folder / f"cifar-10-batches-{layout}").mkdir(parents=True)
    images = {name: generator.integers(0, 256, (count, 3072), dtype=np.uint8) for name in names}
    labels = list(range(count))
    for name in names:
        path = folder / f"cifar-10-batches-{layout}" / name
        if layout == "bin":
            rows = np.column_stack([np.array(labels, np.uint8), images[name]])
            path.with_suffix(".bin").write_bytes(rows.tobytes())
        else:
            content = {b"data": images[name], b"labels": labels, b"batch_label": b"x"}
            path.write_bytes(pickle_as_published(content))
    return np.concatenate([images[name] for name in names[:5]]).reshape(-1, 3, 32, 32)


def describe(data_dir: Path) -> Dataset:
    """CIFAR-10 with the MD5 of the files in a folder in place of the published ones."""
    return replace(DATASETS["cifar10"], published_md5=tuple(compute_md5(data_dir).items()))


@pytest.mark.parametrize("layout", ["bin", "py"])
def test_both_layouts_of_cifar10_are_read(tmp_path: Path, layout: str) -> None:
    """Both give the same images."""
    expected = write_cifar(tmp_path, layout)

    arrays = read_cifar(describe(tmp_path), tmp_path)

    assert (arrays["train_images"] == expected).all()
    assert arrays["train_labels"].tolist() == [0, 1, 2] * 5
    assert arrays["test_images"].shape == (3, 3, 32, 32)


@pytest.mark.parametrize("layout", ["bin", "py"])
def test_truncated_files_of_cifar10_are_reported(tmp_path: Path, layout: str) -> None:
    """The message names the file."""
    write_cifar(tmp_path, layout)
    [path] = tmp_path.glob("*/data_batch_3*")
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(MachineError, match="data_batch_3"):
        read_cifar(describe(tmp_path), tmp_path)


def test_a_missing_file_of_cifar10_is_reported(tmp_path: Path) -> None:
    """The message names it."""
    write_cifar(tmp_path, "bin")
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").unlink()

    with pytest.raises(MachineError, match=r"test_batch\.bin must be a readable file"):
        read_cifar(describe(tmp_path), tmp_path)


class Malicious:
    """An object that calls `print` when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (print, ("gotcha",))


MALICIOUS = {
    "code": (pickle.dumps({b"data": Malicious(), b"labels": []}), "refused to load builtins.print"),
    "an import": (b"cnumpy.f2py.__main__\nencode\n.", "refused to load numpy.f2py.__main__"),
    "dotted names": (b"\x80\x04\x8c\x05numpy\x8c\x0bdtype.mro.x\x93.", "refused to load numpy.dty"),
    "objects": (b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.", "must be bytes, got b'O8'"),
    "a codec": (b"c_codecs\nencode\n(S'x'\nS'hex'\ntR.", "refused to load _codecs.encode"),
    "endless bytes": (b"\x80\x04\x8e" + struct.pack("<q", 2**62) + b".", "must be a batch of"),
    "endless memory": (b"K\x00r\xff\xff\xff\xff.", "must be a batch of"),
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_pickle_may_hold_only_bytes_and_plain_values(tmp_path: Path, name: str) -> None:
    """Anything else is refused, even if the MD5 is the expected one."""
    content, message = MALICIOUS[name]
    write_cifar(tmp_path, "py")
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(content)

    with pytest.raises(MachineError, match=message):
        read_cifar(describe(tmp_path), tmp_path)


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_a_pickle_that_exhausts_memory_is_reported(
    tmp_path: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the file; there is no stack trace."""

    def fail(_: object) -> None:
        raise error

    write_cifar(tmp_path, "py")
    monkeypatch.setattr(cifar._BatchUnpickler, "load", fail, raising=False)

    with pytest.raises(MachineError, match=f"data_batch_1 must be a batch .* {error.__name__}"):
        read_cifar(describe(tmp_path), tmp_path)


def test_a_foreign_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some pickles crash the interpreter, so only published files are unpickled."""
    write_cifar(tmp_path, "py")
    monkeypatch.setattr(cifar, "_BatchUnpickler", None)
    expected = "c99cafc152244af753f735de768cd75f"

    with pytest.raises(MachineError, match=f"data_batch_1 must have the MD5 {expected}, got"):
        prepare_data(DATASETS["cifar10"], data_dir=tmp_path, cache_dir=tmp_path / "cache")

    assert not (tmp_path / "cache").exists()


def test_images_other_than_the_published_ones_are_refused(tmp_path: Path) -> None:
    """Errors on other images would be reported as those of CIFAR-10."""
    write_cifar(tmp_path, "bin")

    with pytest.raises(MachineError, match="cifar10 must have the checksum"):
        prepare_data(DATASETS["cifar10"], data_dir=tmp_path, cache_dir=tmp_path / "cache")

    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "cifar100", "imagenet"])
def test_a_missing_dataset_is_reported(tmp_path: Path, name: str) -> None:
    """The message says what to do, and nothing is written."""
    with pytest.raises(
        MachineError, match=r"(Unpack its archive|Put its files|Put your copy) there"
    ):
        prepare_data(DATASETS[name], data_dir=tmp_path, cache_dir=tmp_path / "cache")

    assert not (tmp_path / "cache").exists()


REAL = ("fashion_mnist", "fashion_mnist_validation", "cifar10", "cifar10_validation")


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_real_images_match_their_pinned_checksum(tmp_path: Path, name: str) -> None:
    """The constants for normalisation are those of the published images."""
    dataset = DATASETS[name]
    data_dir = Path(os.environ["ABLATIONS_DATA_DIR"])
    prepare_data(dataset, data_dir=data_dir, cache_dir=tmp_path)
    data = load_data(dataset, cache_dir=tmp_path, device=CPU)

    assert (len(data.train), len(data.test)) == (dataset.train_size, dataset.test_size)
    for channel, (mean, std) in enumerate(zip(dataset.mean, dataset.std, strict=True)):
        values = data.train.images[:, channel].numpy()
        assert values.mean() / 255 == pytest.approx(mean, abs=1e-4)
        assert values.std() / 255 == pytest.approx(std, abs=1e-4)


LAYOUTS = (torch.contiguous_format, torch.channels_last)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 3, 6, 6), (5, 1, 4, 7), (4, 3, 9, 5)])
def test_crops_are_cut_at_the_drawn_corners(
    shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    """Rows are drawn first, then columns, whatever the layout in memory."""
    images = torch.randint(1, 256, shape, dtype=torch.uint8).contiguous(memory_format=layout)
    height, width = shape[2:]

    crops = crop_padded(images, 3, torch.Generator().manual_seed(1))

    padded = torch.nn.functional.pad(images, (3, 3, 3, 3))
    corners = torch.randint(7, (2, len(images)), generator=torch.Generator().manual_seed(1))
    for crop, image, row, column in zip(crops, padded, *corners.tolist(), strict=True):
        assert torch.equal(crop, image[:, row : row + height, column : column + width])


def test_crops_are_shifted_copies() -> None:
    """Every crop is a window of the padded image, at varying positions."""
    images = torch.arange(1, 2 * 36 + 1, dtype=torch.uint8).view(2, 1, 6, 6)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))

    crops = [crop_padded(images, 2, torch.Generator().manual_seed(s)) for s in range(20)]

    for crop in crops:
        for image, source in zip(crop, padded, strict=True):
            windows = source.unfold(1, 6, 1).unfold(2, 6, 1).reshape(-1, 6, 6)
            assert (windows == image[0]).all(dim=(1, 2)).any()
    assert len({tuple(crop.flatten().tolist()) for crop in crops}) > 10


def collect_images(data: Data, **settings: object) -> torch.Tensor:
    """The images of an epoch in order, with a `pad` crop and other settings of an augmentation."""
    augmentation = Augmentation(
        crop="pad",
        padding=2,
        flip=True,
        generator=torch.Generator().manual_seed(1),
        **settings,  # type: ignore[arg-type]
    )
    batches = iterate_train_batches(
        data,
        batch_size=16,
        augmentation=augmentation,
        shuffle=torch.Generator().manual_seed(2),
        device=CPU,
    )
    return torch.cat([images for images, _ in batches])


@pytest.mark.parametrize("fill", ["black", "mean"])
def test_the_parts_of_replicas_are_the_batches_of_one_process(
    dataset: Dataset, cache_dir: Path, fill: str
) -> None:
    """To the bit, with the same random numbers for each image; so their number changes no image."""
    data = load_data(dataset, cache_dir=cache_dir, device=CPU)

    def collect(replica: Replica) -> list[tuple[torch.Tensor, torch.Tensor]]:
        generators = [torch.Generator().manual_seed(seed) for seed in (1, 2, 3)]
        distortion = Distortion(rotation=10, pixel_jitter=20, generator=generators[0])
        augmentation = Augmentation(
            crop="pad",
            padding=2,
            crop_fill=fill,  # type: ignore[arg-type]
            flip=True,
            generator=generators[1],
            distortion=distortion,
        )
        batches = iterate_train_batches(
            data,
            batch_size=24,
            augmentation=augmentation,
            shuffle=generators[2],
            device=CPU,
            replica=replica,
        )
        return list(batches)

    whole = collect(ALONE)
    parts = zip(*(collect(Replica(rank=rank, count=4)) for rank in range(4)), strict=True)

    for batch, own in zip(whole, parts, strict=True):
        for values, of_parts in zip(batch, zip(*own, strict=True), strict=True):
            assert torch.equal(torch.cat(of_parts), values)
            assert {len(part) for part in of_parts} == {6}


def test_the_mean_as_padding_is_0_after_normalisation(dataset: Dataset, cache_dir: Path) -> None:
    """Crops and flips are those of black padding, and only the padding differs."""
    data = load_data(dataset, cache_dir=cache_dir, device=CPU)

    black, mean = (collect_images(data, crop_fill=fill) for fill in ("black", "mean"))

    differs = black != mean
    assert differs.any()
    assert (mean[differs] == 0).all()
    assert (black[differs] == normalise(torch.zeros(1, 1, 1, 1).byte(), dataset).item()).all()
    assert mean.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("rotation", "jitter"), [(10.0, 0.0), (0.0, 20.0), (10.0, 20.0)])
def test_distortions_do_not_change_the_draws_of_crops_and_flips(
    dataset: Dataset, cache_dir: Path, rotation: float, jitter: float
) -> None:
    """So that recipes with and without them see the same crops."""
    data = load_data(dataset, cache_dir=cache_dir, device=CPU)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    distortions = [
        Distortion(rotation=rotation, pixel_jitter=jitter, generator=generator)
        for generator in generators
    ]

    plain = collect_images(data)
    distorted = collect_images(data, distortion=distortions[0])

    expected = [distort(batch, distortions[1], std=dataset.std) for batch in plain.split(16)]
    assert torch.equal(distorted, torch.cat(expected))
    assert not torch.equal(distorted, plain)
    assert distorted.is_contiguous(memory_format=torch.channels_last)


def test_images_are_rotated_counter_clockwise() -> None:
    """By the angle of each image; pixels from outside are 0."""
    images = torch.rand(4, 3, 9, 9) + 1

    rotated = rotate(images, torch.tensor([0.0, 90.0, -90.0, 45.0]))

    for found, image, turns in zip(rotated[:3], images[:3], (0, 1, -1), strict=True):
        torch.testing.assert_close(found, image.rot90(turns, dims=(1, 2)), atol=1e-4, rtol=0)
    assert (rotated[3, :, 0, 0] == 0).all()
    torch.testing.assert_close(rotated[3, :, 4, 4], images[3, :, 4, 4])


def test_jitter_shifts_channels_within_its_limit() -> None:
    """Each channel of each image by a number of its own, in grey levels before normalisation."""
    images, std = torch.randn(300, 3, 4, 4), (0.1, 0.2, 0.4)
    generator = torch.Generator().manual_seed(0)

    shifted = distort(images, Distortion(rotation=0, pixel_jitter=20, generator=generator), std=std)

    shifts = (shifted - images) * torch.tensor(std).view(3, 1, 1) * 255
    assert shifts.flatten(2).std(dim=2).max() < 1e-3
    assert 19 < shifts.max() < 20 + 1e-3
    assert -20 - 1e-3 < shifts.min() < -19
    assert len(shifts[..., 0, 0].unique()) == 900


def test_flips_mirror_about_half() -> None:
    """Each result is the image or its mirror image."""
    images = torch.randint(256, (200, 3, 4, 4), dtype=torch.uint8)

    flipped = flip_some(images, torch.Generator().manual_seed(0))

    mirrored = (flipped == images.flip(3)).all(dim=(1, 2, 3))
    assert ((flipped == images).all(dim=(1, 2, 3)) | mirrored).all()
    assert 70 < mirrored.sum() < 130


@pytest.mark.parametrize("layout", LAYOUTS)
def test_normalised_images_have_mean_0_and_standard_deviation_1(
    dataset: Dataset, layout: torch.memory_format
) -> None:
    """The dataset's constants are used; the result is channels_last."""
    images = torch.randint(256, (100, 3, 8, 8), dtype=torch.uint8).contiguous(memory_format=layout)
    means = tuple((images.float() / 255).mean(dim=(0, 2, 3)).tolist())
    stds = tuple((images.float() / 255).std(dim=(0, 2, 3)).tolist())

    floats = normalise(images, replace(dataset, channels=3, mean=means, std=stds))

    assert floats.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(floats.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(floats.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_an_epoch_yields_every_image_once(dataset: Dataset, cache_dir: Path) -> None:
    """The order depends only on the generator; a smaller last batch is dropped."""
    data = load_data(dataset, cache_dir=cache_dir, device=CPU)

    orders = [collect_labels(data, batch_size=24, seed=seed) for seed in (0, 0, 1)]

    assert [len(order) for order in orders] == [48, 48, 48]  # of 64
    assert orders[0] == orders[1] != orders[2]


def collect_labels(data: Data, *, batch_size: int, seed: int) -> list[int]:
    """Labels in the order of an epoch."""
    batches = iterate_train_batches(
        data,
        batch_size=batch_size,
        augmentation=Augmentation(crop="pad", padding=2, flip=True, generator=torch.Generator()),
        shuffle=torch.Generator().manual_seed(seed),
        device=CPU,
    )
    return [label for _, labels in batches for label in labels.tolist()]


def test_sizes_of_objects_are_known_where_the_dataset_has_them(
    dataset: Dataset, cache_dir: Path
) -> None:
    """They say nothing about training, so a dataset without them is complete."""
    without = load_data(dataset, cache_dir=cache_dir, device=CPU)
    sizes = np.arange(40, dtype=np.uint8)
    np.save(cache_dir / dataset.cache_name / "test_sizes.npy", sizes)

    data = load_data(dataset, cache_dir=cache_dir, device=CPU)

    assert without.test.object_sizes is None
    assert data.test.object_sizes is not None
    assert data.test.object_sizes.tolist() == sizes.tolist()
