"""Folders of images are listed, identified, decoded by any number of workers, and trained on."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Answer, assert_same_weights
from PIL import ExifTags, Image
from torchvision.transforms import v2

from ablations.config import Recipe
from ablations.data import catalogue
from ablations.data.arrays import load_data, prepare_data
from ablations.data.batches import ALONE, Augmentation, Replica, iterate_train_batches
from ablations.data.catalogue import DATASETS, Crop, Dataset
from ablations.data.identification import identify_dataset, inspect_dataset, scan_images
from ablations.data.image_folder import augment_image, crop_centre, draw_crop, read_image
from ablations.errors import MachineError
from ablations.plans import TrialSpec
from ablations.trial.records import EpochRecord
from ablations.trial.run import run_trial
from sknet.zoo import NETWORKS

CPU = torch.device("cpu")
CLASSES = ("ant", "bee", "cat")
SMALL = replace(DATASETS["imagenet"], image_size=32)
"""ImageNet with crops of 32 pixels; those of 320 stay."""
CROPS = SMALL.crops


def write_images(root: Path, *, train: int = 4, test: int = 2) -> Path:
    """Writes images of noise with sides of 40 to 90 pixels; returns their folder."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("val", test)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                height, width = generator.integers(40, 90, 2)
                pixels = generator.integers(0, 120, (height, width, 3), dtype=np.uint8)
                pixels[..., label] += 120
                Image.fromarray(pixels).save(folder / f"{index}.{'JPEG' if index else 'png'}")
    return root


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A data directory with a folder of images."""
    write_images(tmp_path / "data" / "imagenet")
    return tmp_path / "data"


@pytest.fixture
def folder(images: Path, tmp_path: Path) -> Dataset:
    """The facts of the images, which are prepared."""
    found = identify_dataset(SMALL, images)
    prepare_data(found, data_dir=images, cache_dir=tmp_path / "cache")
    return found


@pytest.fixture
def resized(recipe: Recipe) -> Recipe:
    """A recipe with crops of random size and two steps per epoch."""
    changes = {"dataset": "imagenet", "crop": "resized", "crop_padding": 0, "batch_size": 6}
    return Recipe(**{**recipe.model_dump(), **changes})


@pytest.fixture
def folder_spec(folder: Dataset, resized: Recipe) -> TrialSpec:
    """A tiny SKNet on the images."""
    network = replace(NETWORKS["sknet_tiny"], num_classes=folder.num_classes)
    return TrialSpec(network=network, recipe=resized, dataset=folder, seed=0)


def run(spec: TrialSpec, tmp_path: Path, name: str, *, workers: int) -> list[EpochRecord]:
    """All records of a trial."""
    return list(start(spec, tmp_path, name, workers=workers))


def start(spec: TrialSpec, tmp_path: Path, name: str, *, workers: int) -> Iterator[EpochRecord]:
    """A trial on the CPU that has not started."""
    return run_trial(
        spec,
        cache_dir=tmp_path / "cache",
        checkpoint=tmp_path / f"{name}.pt",
        device=CPU,
        loader_workers=workers,
    )


def test_a_folder_is_listed(images: Path) -> None:
    """Classes are sorted by name; files that are not images are ignored."""
    (images / "imagenet" / "train" / "ant" / "notes.txt").write_text("no image")
    nested = images / "imagenet" / "val" / "cat" / "more"
    nested.mkdir()
    (nested / "9.JPG").write_bytes(b"not decoded")

    listing = scan_images(images / "imagenet")

    assert listing.classes == CLASSES
    assert listing.train[:5] == (
        *(f"train/ant/{name}" for name in ("0.png", "1.JPEG", "2.JPEG", "3.JPEG")),
        "train/bee/0.png",
    )
    assert listing.test[-1] == "val/cat/more/9.JPG"
    assert (len(listing.train), len(listing.test)) == (12, 7)


def test_a_folder_is_identified_by_paths_and_sizes(tmp_path: Path) -> None:
    """Neither its location nor its modification times matter."""
    roots = [write_images(tmp_path / name / "imagenet") for name in ("a", "b", "grown", "renamed")]
    with (roots[2] / "val" / "bee" / "1.JPEG").open("ab") as file:
        file.write(b"\0")
    (roots[3] / "val" / "bee" / "1.JPEG").rename(roots[3] / "val" / "bee" / "2.JPEG")

    first, same, *others = (inspect_dataset(SMALL, root.parent) for root in roots)

    assert (first.num_classes, first.train_size, first.test_size) == (3, 12, 6)
    assert first == same
    assert first.identity.startswith("found:")
    assert len({first.identity, *(other.identity for other in others)}) == 3


def test_a_plan_needs_no_folder(tmp_path: Path, folder_spec: TrialSpec) -> None:
    """Its identity says that it was not found; with the folder it is a different one."""
    absent = identify_dataset(SMALL, tmp_path / "nowhere")
    planned = replace(folder_spec, dataset=absent)

    assert planned.facts["dataset"] == {"name": "imagenet", "checksum": "not found"}
    assert absent.num_classes == 1000
    assert planned.key != folder_spec.key
    with pytest.raises(MachineError, match=r"must hold images as train/CLASS/ and val/CLASS/"):
        prepare_data(absent, data_dir=tmp_path / "nowhere", cache_dir=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def remove(root: Path, name: str) -> None:
    """Removes a folder of images."""
    for path in sorted((root / name).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / name).rmdir()


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no train": (lambda root: remove(root, "train"), "train must be readable, got No"),
    "no val": (lambda root: remove(root, "val"), "val must be readable, got No such"),
    "no classes": (
        lambda root: [remove(root, f"train/{name}") for name in CLASSES],
        "train must hold one folder per class, got none",
    ),
    "a class in val only": (lambda root: remove(root, "train/bee"), "got 1 in only one of .*: bee"),
    "a class in train only": (lambda root: remove(root, "val/cat"), "got 1 in only one of .*: cat"),
    "no images": (
        lambda root: [path.unlink() for path in (root / "val" / "bee").iterdir()],
        "val/bee must hold images, got none",
    ),
    "a broken link": (
        lambda root: (root / "train" / "bee" / "9.jpg").symlink_to(root / "nowhere.jpg"),
        "9.jpg must be readable, got No such",
    ),
    "an empty file": (
        lambda root: (root / "train/ant/2.JPEG").write_bytes(b""),
        "train/ant/2.JPEG must be an image, got an empty file",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_folder_are_reported(images: Path, tmp_path: Path, fault: str) -> None:
    """Each in one line before any training; planning still works."""
    damage, message = FAULTS[fault]
    damage(images / "imagenet")

    assert identify_dataset(SMALL, images) == SMALL
    with pytest.raises(MachineError, match=message) as raised:
        prepare_data(SMALL, data_dir=images, cache_dir=tmp_path / "cache")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_changed_after_the_plan_is_refused(images: Path, tmp_path: Path) -> None:
    """Its errors would be recorded under another identity."""
    found = identify_dataset(SMALL, images)
    (images / "imagenet" / "train" / "ant" / "1.JPEG").unlink()

    with pytest.raises(
        MachineError, match=r"must hold the images that the plan found.* run the command again"
    ):
        prepare_data(found, data_dir=images, cache_dir=tmp_path / "cache")


def test_a_folder_that_moved_is_found(images: Path, folder: Dataset, tmp_path: Path) -> None:
    """Its location is not part of its identity."""
    images.rename(tmp_path / "moved")

    prepare_data(folder, data_dir=tmp_path / "moved", cache_dir=tmp_path / "cache")
    data = load_data(folder, cache_dir=tmp_path / "cache", device=CPU)

    [(pixels, labels)] = data.test.iterate([torch.arange(6)], device=CPU)
    assert pixels.shape == (6, 3, 32, 32)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_reported(
    images: Path, folder_spec: TrialSpec, tmp_path: Path, workers: int
) -> None:
    """In one line with its path, whichever process reads it."""
    path = images / "imagenet" / "val" / "bee" / "1.JPEG"
    path.write_bytes(b"x" * path.stat().st_size)

    with pytest.raises(MachineError, match=r"1\.JPEG must be a readable image, got") as raised:
        run(folder_spec, tmp_path, "a", workers=workers)

    assert "\n" not in str(raised.value)


def test_an_image_of_extreme_sides_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """A strip of 1x60000 pixels would be resized to 256x15360000."""
    Image.new("L", (1, 20_000)).save(tmp_path / "strip.png")

    with pytest.raises(MachineError, match="sides of 1 and 20000 pixels"):
        read_image(tmp_path / "strip.png")


def test_formats_that_start_programs_are_refused(tmp_path: Path) -> None:
    """PIL would hand an EPS to Ghostscript, whatever the file is called."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", format="EPS")

    with pytest.raises(MachineError, match=r"a.jpg must be a readable image"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB", "1"])
def test_images_of_any_mode_are_read_as_rgb(tmp_path: Path, mode: str) -> None:
    """ImageNet contains greyscale and CMYK images."""
    Image.new(mode, (5, 4)).save(tmp_path / "a.jpg")

    assert read_image(tmp_path / "a.jpg").mode == "RGB"


def test_the_content_of_a_file_decides_how_it_is_read(tmp_path: Path) -> None:
    """Some files of ImageNet are PNG but named JPEG; orientation tags are ignored."""
    image = Image.fromarray(np.arange(180, dtype=np.uint8).reshape(6, 10, 3))
    image.save(tmp_path / "a.jpg", format="PNG")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # rotate by 90 degrees
    image.save(tmp_path / "b.jpg", exif=exif)

    assert read_image(tmp_path / "a.jpg").tobytes() == image.tobytes()
    assert read_image(tmp_path / "b.jpg").size == (10, 6)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_image_is_refused(tmp_path: Path, suffix: str) -> None:
    """Its lower part would be grey."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(MachineError, match=r"must be a readable image, got OSError: .*truncated"):
        read_image(path)


@pytest.mark.parametrize(("size", "shorter"), [(224, 256), (320, 366)])
def test_the_centre_is_cropped_at_the_papers_scale(size: int, shorter: int) -> None:
    """224 from a shorter side of 256, and 320 at the same scale."""
    image = Image.new("RGB", (2 * shorter, shorter))
    image.paste((255, 255, 255), (shorter - size // 2, 0, shorter + size // 2, shorter))

    cropped = crop_centre(image, size)

    assert cropped.shape == (1, 3, size, size)
    assert cropped.dtype == torch.uint8
    assert cropped.min() == 255  # the white middle, nothing else, no border


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (41, 40), (90, 7), (7, 90), (1, 1)])
def test_crops_are_those_of_torchvision(size: tuple[int, int]) -> None:
    """Equal to those of `RandomResizedCrop` for the same seed, even if no crop fits."""
    transform, image = v2.RandomResizedCrop(224), Image.new("RGB", size)

    for seed in range(200):
        left, top, right, bottom = draw_crop(*size, torch.Generator().manual_seed(seed))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            expected = transform.make_params([image])
        drawn = {"top": top, "left": left, "height": bottom - top, "width": right - left}
        assert drawn == expected


def test_crops_have_at_least_the_given_area() -> None:
    """A large scale is a weak augmentation."""
    shares = []
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        left, top, right, bottom = draw_crop(400, 400, generator, scale=0.5)
        shares.append((right - left) * (bottom - top) / 400**2)

    assert 0.49 < min(shares) < 0.6  # sides are rounded


@pytest.mark.parametrize("crop", CROPS)
def test_images_are_augmented_as_by_torchvision(crop: Crop) -> None:
    """With the same seed, pixels differ by rounding at most."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    steps = [v2.RandomResizedCrop(64)] if crop == "resized" else [v2.Resize(73), v2.CenterCrop(64)]
    transform = v2.Compose([*steps, v2.RandomHorizontalFlip(), v2.PILToTensor()])

    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        ours = augment_image(image, 64, crop=crop, flip=True, generator=generator)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            theirs = transform(image)
        assert (ours[0].int() - theirs.int()).abs().max() <= 1


def collect(
    folder: Dataset,
    cache_dir: Path,
    *,
    batch_size: int = 6,
    crop: Crop = "resized",
    flip: bool = True,
    workers: int = 0,
    replica: Replica = ALONE,
) -> list[torch.Tensor]:
    """Images and labels of all batches of an epoch."""
    data = load_data(folder, cache_dir=cache_dir, device=CPU, workers=workers)
    generator = torch.Generator().manual_seed(2)
    batches = iterate_train_batches(
        data,
        batch_size=batch_size,
        augmentation=Augmentation(crop=crop, padding=0, flip=flip, generator=generator),
        shuffle=torch.Generator().manual_seed(1),
        device=CPU,
        replica=replica,
    )
    return [tensor for batch in batches for tensor in batch]


def test_replicas_decode_their_parts_of_the_batches_of_one_process(
    folder: Dataset, tmp_path: Path
) -> None:
    """Each image has the same crop and flip, whatever the number of replicas."""
    whole = collect(folder, tmp_path / "cache")

    parts = [
        collect(folder, tmp_path / "cache", replica=Replica(rank=rank, count=2)) for rank in (0, 1)
    ]

    assert [len(tensor) for tensor in parts[0]] == [3] * len(whole)
    for together, *own in zip(whole, *parts, strict=True):
        assert torch.equal(together, torch.cat(own))


def test_batches_do_not_depend_on_workers(folder: Dataset, tmp_path: Path) -> None:
    """Nor on PyTorch's global generator, whose state is preserved."""
    torch.manual_seed(9)
    state = torch.get_rng_state()

    alone = collect(folder, tmp_path / "cache", batch_size=5)  # drops the last two images
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(10)
    helped = collect(folder, tmp_path / "cache", batch_size=5, workers=2)

    assert [tensor.shape for tensor in alone] == [(5, 3, 32, 32), (5,)] * 2
    assert all(torch.equal(a, b) for a, b in zip(alone, helped, strict=True))
    assert alone[0].is_contiguous(memory_format=torch.channels_last)


def test_images_are_augmented_as_the_recipe_says(folder: Dataset, tmp_path: Path) -> None:
    """Without crop and flip an image is its centre crop; each of them changes it."""
    chosen = {
        (crop, flip): collect(folder, tmp_path / "cache", crop=crop, flip=flip)[0]
        for crop in CROPS
        for flip in (False, True)
    }

    plain, flipped = chosen["none", False], chosen["none", True]
    mirrored = (flipped == plain.flip(3)).all(dim=(1, 2, 3))
    assert ((flipped == plain).all(dim=(1, 2, 3)) ^ mirrored).all()
    assert mirrored.any()
    assert not torch.equal(plain, chosen["resized", False])


@pytest.mark.parametrize(
    "changes", [{"crop_scale": 0.9}, {"rotation": 10.0}, {"pixel_jitter": 20.0}]
)
def test_further_augmentation_changes_the_training(
    folder_spec: TrialSpec, tmp_path: Path, changes: dict[str, float]
) -> None:
    """In the same way with any number of workers."""
    spec = replace(folder_spec, recipe=folder_spec.recipe.model_copy(update=changes))

    records = [run(spec, tmp_path, name, workers=n) for name, n in (("a", 0), ("b", 2))]

    assert records[0] == records[1]
    assert records[0] != run(folder_spec, tmp_path, "plain", workers=0)


def test_equal_trials_are_equal_with_any_workers(folder_spec: TrialSpec, tmp_path: Path) -> None:
    """Bit for bit; the error at 320 pixels is reported too."""
    records = [run(folder_spec, tmp_path, name, workers=n) for name, n in (("a", 0), ("b", 2))]

    assert records[0] == records[1]
    assert_same_weights(tmp_path / "a.pt", tmp_path / "b.pt")
    assert all(0 <= record.top1_error_320 <= 100 for record in records[0])
    assert len(records[0][-1].correct) == 6


def test_interrupted_equals_uninterrupted(folder_spec: TrialSpec, tmp_path: Path) -> None:
    """Even if the number of workers changes in between."""
    whole = run(folder_spec, tmp_path, "whole", workers=0)
    trial = start(folder_spec, tmp_path, "cut", workers=2)
    list(islice(trial, 1))
    trial.close()

    assert run(folder_spec, tmp_path, "cut", workers=0) == whole
    assert_same_weights(tmp_path / "whole.pt", tmp_path / "cut.pt")


def test_replicas_decode_with_workers_of_their_own(folder_spec: TrialSpec, tmp_path: Path) -> None:
    """The processes of replicas may have processes themselves, and see the images of one."""
    changes = {"replicas": 2, "batch_norm": "synchronised", "learning_rate": 0.001}
    both = replace(folder_spec, recipe=folder_spec.recipe.model_copy(update=changes))
    gentle = folder_spec.recipe.model_copy(update={"learning_rate": 0.001})
    alone = run(replace(folder_spec, recipe=gentle), tmp_path, "alone", workers=0)

    together = run(both, tmp_path, "both", workers=1)

    for own, other in zip(alone, together, strict=True):
        assert other.train_loss == pytest.approx(own.train_loss, rel=1e-3)
        assert other.top1_error_320 is not None
    assert len(together[-1].correct or b"") == len(alone[-1].correct or b"")


@pytest.mark.gpu
def test_a_gpu_sees_the_same_images(folder_spec: TrialSpec, tmp_path: Path) -> None:
    """Workers decode into pinned memory; results are close to those on a CPU."""
    there = run_trial(
        folder_spec,
        cache_dir=tmp_path / "cache",
        checkpoint=tmp_path / "gpu.pt",
        device=torch.device("cuda"),
        loader_workers=2,
    )
    [first] = islice(there, 1)
    here = run(folder_spec, tmp_path, "cpu", workers=0)

    assert first.train_loss == pytest.approx(here[0].train_loss, rel=1e-2)


def test_small_images_have_no_error_at_320(spec: TrialSpec, cache_dir: Path) -> None:
    """Older records, which lack that error, can still be read."""
    records = run_trial(spec, cache_dir=cache_dir, checkpoint=cache_dir / "a.pt", device=CPU)
    [first] = islice(records, 1)
    older = {**first.__dict__}
    del older["top1_error_320"]

    assert first.top1_error_320 is None
    assert EpochRecord(**older) == first


def test_crops_must_suit_the_dataset(recipe: Recipe, resized: Recipe) -> None:
    """Otherwise the crop would be ignored silently."""
    for faulty, changes in ((resized, {"dataset": "cifar10"}), (recipe, {"dataset": "imagenet"})):
        with pytest.raises(ValueError, match="crop must be none or"):
            Recipe(**{**faulty.model_dump(), **changes})


FOLDER_RECIPE = """
  photos: {dataset: imagenet, body: wee, epochs: 1, batch_size: BATCH, learning_rate: 0.1,
           schedule: cosine, crop: resized, flip: true, seeds: [0]}
experiments:
"""


@pytest.mark.parametrize("batch_size", [6, 13])
def test_a_folder_is_trained_on_from_the_command_line(
    command: Callable[..., Answer],
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch_size: int,
) -> None:
    """The network has as many classes as the folder; a changed folder is trained on again."""
    monkeypatch.setitem(catalogue.DATASETS, "imagenet", SMALL)
    path = tmp_path / "experiments.yaml"
    recipe = FOLDER_RECIPE.replace("BATCH", str(batch_size))
    path.write_text(path.read_text().replace("\nexperiments:\n", recipe))
    arguments = ("run-ablation", "attention", "--recipe", "photos", "--tracking-uri", "off",
                 "--backend", "local", "--loader-workers", "0", "--retries", "0")  # fmt: skip

    first = command(*arguments)

    if batch_size > 12:
        assert first.code == 2
        assert (
            "recipes.photos.batch_size: must be at most 12, the number of training images of "
            "imagenet, got 13"
        ) in first.err
        assert not list(tmp_path.glob("runs/trials"))
        return
    assert first.code == 0
    record = json.loads(next(tmp_path.glob("runs/trials/*/record.json")).read_text())
    assert record["facts"]["network"]["num_classes"] == 3
    assert record["epochs"][-1]["top1_error_320"] is not None
    assert "nothing to train" in command(*arguments).err
    (images / "imagenet" / "train" / "ant" / "1.JPEG").unlink()
    assert "2 to run" in command("ablations", "plan", "attention", "--recipe", "photos").out
