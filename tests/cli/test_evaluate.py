"""`ablations evaluate`: its errors are torchvision's; what it prints, keeps and refuses."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torchvision
from conftest import Answer
from PIL import Image
from published import keep, make_evaluation
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from ablations.evaluations import read_evaluations

NETWORK = "shufflenet_v2_x0_5"
QUICK = ("--loader-workers", "0", "--device", "cpu")
VAL = Path("data/imagenet/val")
CLASSES = tuple(f"n{label}" for label in range(8))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write_images(val: Path) -> None:
    """Writes blurred noise with sides of 60 to 400 pixels, three images per class."""
    generator = np.random.default_rng(0)
    for name in CLASSES:
        (val / name).mkdir(parents=True)
        for index in range(3):
            width, height = generator.integers(60, 400, 2).tolist()
            noise = generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)
            image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
            image.save(val / name / f"{index}.{'JPEG' if index else 'png'}")


def read_batches(
    val: Path, image_size: int, shorter_side: int, *, backend: str = "pil"
) -> DataLoader[Any]:
    """The images as torchvision's reference scripts read them; its backends round differently."""
    steps = [
        *([v2.PILToTensor()] if backend == "tensor" else []),
        v2.Resize(shorter_side, antialias=True),
        v2.CenterCrop(image_size),
        *([v2.PILToTensor()] if backend == "pil" else []),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]
    return DataLoader(ImageFolder(str(val), v2.Compose(steps)), batch_size=16)


def make_network(val: Path) -> nn.Module:
    """Torchvision's network with random weights, which tells the images apart.

    Statistics of normalisation are those of the images, and no class has high scores for all of
    them: otherwise, every image would be classified alike.
    """
    torch.manual_seed(10)  # no score is within rounding of another
    network: Any = torchvision.models.get_model(NETWORK, weights=None, num_classes=len(CLASSES))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # all images count alike
    with torch.no_grad():
        images = torch.cat([images for images, _ in read_batches(val, 224, 256)])
        network.train()(images)
        network.fc.bias -= network.eval()(images).mean(dim=0)
        assert len(network(images).argmax(dim=1).unique()) > 4
    return cast("nn.Module", network)


@torch.inference_mode()
def count_errors(network: nn.Module, batches: DataLoader[Any]) -> list[int]:
    """Numbers of images that are wrong at the first place, and among the first five."""
    wrong = [0, 0]
    for images, labels in batches:
        best = network(images).argsort(dim=1, descending=True)
        for place, k in enumerate((1, 5)):
            hits = sum(int(label in row[:k]) for row, label in zip(best, labels, strict=True))
            wrong[place] += len(labels) - hits
    return wrong


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a checkpoint of torchvision in both formats, and its errors."""
    folder = tmp_path_factory.mktemp("kept")
    write_images(folder / VAL)
    network = make_network(folder / VAL)
    torch.save(network.state_dict(), folder / "weights.pth")
    save_file(network.state_dict(), folder / "weights.safetensors")
    expected = {
        backend: [
            count_errors(network, read_batches(folder / VAL, *sides, backend=backend))
            for sides in ((224, 256), (320, 366))
        ]
        for backend in ("pil", "tensor")
    }
    (folder / "expected.json").write_text(json.dumps(expected))
    return folder


@pytest.fixture
def work(tmp_path: Path, kept: Path) -> Path:
    """A copy of it, in which commands run."""
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    return tmp_path


def read_counts(work: Path) -> list[list[int]]:
    """The counts of the only evaluation, for both sizes."""
    [evaluation] = read_evaluations(work / "runs" / "evaluations")
    return [[own.top1, own.top5] for own in evaluation.errors]


@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
def test_error_counts_are_those_of_torchvision(
    command: Callable[..., Answer], work: Path, file: str
) -> None:
    """Its own network, images and transforms give the same numbers of images, at both sizes."""
    expected = json.loads((work / "expected.json").read_text())

    answer = command("ablations", "evaluate", NETWORK, "--weights", file, *QUICK)

    assert answer.code == 0
    assert read_counts(work) == expected["pil"] == expected["tensor"]


def test_an_evaluation_is_printed_and_kept(command: Callable[..., Answer], work: Path) -> None:
    """It needs no training images, reports progress on stderr, and leaves results alone."""
    answer = command("ablations", "evaluate", f"{NETWORK}=weights.pth", *QUICK)

    [evaluation] = read_evaluations(work / "runs" / "evaluations")
    assert f"{evaluation.compute_error('top5', 320):.2f}" in answer.out
    assert "24 images of 8 classes in val/ of imagenet" in answer.out
    assert "centre crops of 224 from 256 pixels and 320 from 366 pixels; fp32" in answer.out
    assert f"Kept in runs/evaluations/{evaluation.key}.json." in answer.out
    assert "Tables do not show them: the networks there have 1000 classes." in answer.out
    assert "2 of 2 batches evaluated, about 0 s left" in answer.err
    assert evaluation.checkpoint.library == "torchvision"
    assert evaluation.checkpoint.file == "weights.pth"
    assert not (work / "results").exists()


@pytest.mark.usefixtures("work")
def test_several_networks_and_json(command: Callable[..., Answer]) -> None:
    """Each with its checkpoint; counts and percentages for programs."""
    arguments = (f"{NETWORK}=weights.pth", f"{NETWORK}=weights.safetensors")

    answer = command("ablations", "evaluate", *arguments, *QUICK, "--json")

    content = json.loads(answer.out)
    assert [own["checkpoint"]["file"] for own in content] == ["weights.pth", "weights.safetensors"]
    assert content[0]["errors"] == content[1]["errors"]
    first = content[0]["errors"][0]
    assert first["top1_error"] == 100 * first["top1"] / 24
    assert len({own["file"] for own in content}) == 2


def test_workers_change_nothing(command: Callable[..., Answer], work: Path) -> None:
    """Neither which images are read, nor their order."""
    command("ablations", "evaluate", f"{NETWORK}=weights.pth", *QUICK)
    before = read_counts(work)
    shutil.rmtree(work / "runs" / "evaluations")

    command("ablations", "evaluate", f"{NETWORK}=weights.pth", "--loader-workers", "2")

    assert read_counts(work) == before


def test_another_precision_is_another_evaluation(
    command: Callable[..., Answer], work: Path
) -> None:
    """It rounds scores, so it replaces no other."""
    command("ablations", "evaluate", f"{NETWORK}=weights.pth", *QUICK)

    answer = command(
        "ablations", "evaluate", f"{NETWORK}=weights.pth", *QUICK, "--precision", "bf16"
    )

    assert "; bf16, on" in answer.out
    found = read_evaluations(work / "runs" / "evaluations")
    assert {evaluation.precision for evaluation in found} == {"fp32", "bf16"}


def test_tables_show_published_weights(command: Callable[..., Answer], tmp_path: Path) -> None:
    """After the next report, also without runs/; a check agrees."""
    command("run-ablation", "kernels", "--backend", "local", "--tracking-uri", "off")
    folder = tmp_path / "results" / "kernels" / "quick"
    assert "published" not in (folder / "table.md").read_text()
    keep(make_evaluation("sknet50"), make_evaluation("senet50"), runs_dir=tmp_path / "runs")

    command("ablations", "report", "kernels")
    (tmp_path / "runs").rename(tmp_path / "away")
    checked = command("ablations", "report", "--all", "--check")
    again = command("ablations", "report", "kernels")

    assert checked.code == 0
    assert "unchanged" in again.out
    with (folder / "table.csv").open() as file:
        shown = {row["variant"]: row["published_top1_error"] for row in csv.DictReader(file)}
    assert shown == {"3x3, D=2, G=32": "20", "3x3, D=1, G=32": ""}
    assert "Published weights of 3x3, D=2, G=32: sknet50.pth" in (folder / "table.md").read_text()


def damage(work: Path, name: str) -> None:
    """Makes a fault of the named kind."""
    if name == "no images":
        shutil.rmtree(work / VAL.parent)
    elif name == "no val":
        shutil.move(work / VAL, work / VAL.parent / "train")
    elif name == "another class":
        (work / VAL / "n9").mkdir()
        shutil.copy(work / VAL / "n0" / "0.png", work / VAL / "n9")
    elif name == "damaged image":
        (work / VAL / "n3" / "2.JPEG").write_bytes(b"no image")
    elif name == "damaged weights":
        (work / "weights.pth").write_bytes((work / "weights.pth").read_bytes()[:1000])


ONE = (NETWORK, "--weights", "weights.pth")


@pytest.mark.parametrize(
    ("arguments", "fault", "code", "message"),
    [
        (("sknet5", "--weights", "weights.pth"), "", 2, "did you mean sknet50?"),
        (("sknet_tiny=weights.pth",), "", 2, "images of 224 pixels, got sknet_tiny"),
        ((NETWORK,), "", 2, f"Write {NETWORK}=FILE, or pass --weights FILE"),
        ((f"{NETWORK}=",), "", 2, "needs a checkpoint, got none"),
        ((NETWORK, "sknet50", "--weights", "a.pth"), "", 2, "--weights needs one NETWORK"),
        ((f"{NETWORK}=weights.pth", "--weights", "a.pth"), "", 2, "--weights needs one NETWORK"),
        (("sknet50=weights.pth",), "", 2, "must fit the network; missing: "),
        (("shufflenet_v2_x1_0=weights.pth",), "", 2, "of another shape: stage2.0.branch1.2.weight"),
        (ONE, "another class", 2, "for the 9 classes in data/imagenet/val: weights.pth"),
        (ONE, "damaged weights", 2, "weights.pth: must be a checkpoint of tensors"),
        ((NETWORK, "--weights", "none.pth"), "", 3, "none.pth must be a readable checkpoint"),
        ((NETWORK, "--weights", "data"), "", 2, "data: must be a checkpoint"),
        (ONE, "no images", 3, "data/imagenet must hold images as val/CLASS/, got no such folder"),
        (ONE, "no val", 3, "data/imagenet/val must be readable, got No such file"),
        (ONE, "damaged image", 3, "n3/2.JPEG must be a readable image"),
        ((*ONE, "--device", "cuda"), "", 3, "--device cuda needs a GPU"),
        ((*ONE, "--precision", "fp16"), "", 2, "--precision"),
    ],
)
def test_what_is_impossible_is_refused(
    command: Callable[..., Answer],
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    fault: str,
    code: int,
    message: str,
) -> None:
    """With its place, and nothing written."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    damage(work, fault)

    answer = command("ablations", "evaluate", *arguments, "--loader-workers", "0")

    assert (answer.code, message in answer.err) == (code, True), answer.err
    assert not (work / "runs" / "evaluations").exists()


def test_all_misfits_are_reported_at_once(command: Callable[..., Answer], work: Path) -> None:
    """Before the first network is evaluated."""
    networks = (f"{name}=weights.pth" for name in (NETWORK, "sknet50", "senet50"))

    answer = command("ablations", "evaluate", *networks)

    assert answer.code == 2
    assert [line.split()[0] for line in answer.err.splitlines()] == ["sknet50", "senet50"]
    assert not (work / "runs" / "evaluations").exists()
