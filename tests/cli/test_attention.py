"""`ablations attention`: what it prints, keeps and refuses, and that checks cover it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Answer

from sknet import create_model

LOCAL = ("--backend", "local", "--tracking-uri", "off")
FOLDER = Path("results/attention/quick/attention")
DERIVED = {
    *("records.json", "table.md", "units.csv", "interventions.csv"),
    *("depth.svg", "interventions.svg", "classes.svg", "fields.svg", "montage.svg"),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what the first test records; the others copy it."""
    return tmp_path_factory.mktemp("kept") / "work"


@pytest.fixture
def recorded(command: Callable[..., Answer], tmp_path: Path, kept: Path) -> Path:
    """A folder in which both variants are trained with three seeds, and recorded."""
    if not kept.is_dir():
        assert command("run-ablation", "attention", *LOCAL).code == 0
        assert command("ablations", "attention", "attention").code == 0
        shutil.copytree(tmp_path, kept)
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_trained_networks_are_recorded(command: Callable[..., Answer], recorded: Path) -> None:
    """The table is printed and kept, and the same again; the report shows it."""
    table = (recorded / FOLDER / "table.md").read_text()

    answer = command("ablations", "attention", "attention")

    assert answer.code == 0
    assert "| SK | SK_2_1 | 3x3 + 5x5 |" in answer.out
    assert "The attention of sum is not recorded: kernels that are added up" in answer.out
    assert answer.out == f"{table}\nKept in {FOLDER}.\n"
    assert {path.name for path in (recorded / FOLDER).iterdir()} == DERIVED
    assert 'id="attention"' in (recorded / "results/attention/quick/report.html").read_text()


def test_results_follow_from_the_records(command: Callable[..., Answer], recorded: Path) -> None:
    """On a machine that has no trials."""
    shutil.rmtree(recorded / "runs")
    table = recorded / FOLDER / "table.md"
    before = table.read_text()
    table.unlink()

    answer = command("ablations", "report", "--all")

    assert answer.code == 0
    assert table.read_text() == before
    checked = command("ablations", "report", "--all", "--check")
    assert (checked.code, checked.err) == (0, "")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("table.md", "SK_2_1", "SK_9_9", "edited or out of date"),
        ("units.csv", "SK_2_1", "SK_9_9", "edited or out of date"),
        ("depth.svg", "SK_2_1", "SK_9_9", "edited or out of date"),
        ("records.json", "SK_2_1", "SK_9_9", "another checksum"),
        ("mine.txt", "", "mine", "does not belong there"),
    ],
)
def test_checks_cover_the_recording(
    command: Callable[..., Answer], recorded: Path, name: str, old: str, new: str, message: str
) -> None:
    """Whatever is edited or foreign is found."""
    path = recorded / FOLDER / name
    path.write_text(path.read_text().replace(old, new) if path.exists() else new)

    checked = command("ablations", "report", "--all", "--check")

    assert checked.code == 1
    assert message in checked.err
    assert name in checked.err


def test_a_recording_of_other_trials_is_found(
    command: Callable[..., Answer], recorded: Path
) -> None:
    """It cannot be copied from one study to another."""
    command("run-ablation", "kernels", *LOCAL)
    (recorded / FOLDER).rename(recorded / "results/kernels/quick/attention")

    checked = command("ablations", "report", "--all", "--check")

    assert checked.code == 1
    assert "must be recorded from trials of kernels on quick, got trial" in checked.err


def test_json_holds_the_numbers(command: Callable[..., Answer], recorded: Path) -> None:
    """For programs; a narrowed recording leaves results alone."""
    shutil.rmtree(recorded / FOLDER)
    answer = command("ablations", "attention", "attention", "--seeds", "0,1", "--json")

    content = json.loads(answer.out)
    assert [unit["n"] for unit in content["units"]] == [2]
    assert [own["intervention"] for own in content["interventions"]] == [
        *("mean", "smallest", "largest", "shuffled")
    ]
    assert content["folder"].startswith("runs/tables/attention/quick")
    assert not (recorded / FOLDER).exists()


def test_a_control_on_shuffled_labels_is_used(
    command: Callable[..., Answer], recorded: Path
) -> None:
    """It is an ordinary trial of the ledger."""
    setting = ("--set", "shuffled_labels=true", "--only", "SK", "--seeds", "0,1")
    assert command("run-ablation", "attention", *setting, *LOCAL).code == 0

    command("ablations", "attention", "attention")

    records = json.loads((recorded / FOLDER / "records.json").read_text())
    roles = [network["role"] for network in records["networks"]]
    assert {role: roles.count(role) for role in roles} == {
        "trained": 3,
        "untrained": 3,
        "shuffled labels": 2,
    }


def test_a_checkpoint_is_recorded(command: Callable[..., Answer], tmp_path: Path) -> None:
    """With intervals over images only, and outside of results."""
    torch.manual_seed(0)
    torch.save(create_model("sknet_tiny", in_channels=1).state_dict(), tmp_path / "mine.pt")
    options = ("--network", "sknet_tiny", "--dataset", "synthetic")

    answer = command("ablations", "attention", "mine.pt", *options)

    assert answer.code == 0
    assert "| mine.pt | SK_4_1 | 3x3 + 5x5 |" in answer.out
    assert "Kept in runs/tables/sknet_tiny-" in answer.out
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("attentoin",), 2, "did you mean attention?"),
        (("attention",), 1, "train with `run-ablation attention --recipe quick`"),
        (("attention", "--dataset", "cifar10"), 2, "--dataset needs a checkpoint"),
        (("x.pt", "--network", "sknet_tiny", "--seeds", "0"), 2, "choose trials of an experiment"),
        (("attention", "--only", "sum"), 2, "kernels that are added up have no selection weights"),
        (("kernels", "--only", "*D=1*"), 2, "none is larger"),
        (("x.pt", "--network", "sknet5"), 2, "did you mean sknet50?"),
        (("x.pt", "--network", "resnext50_32x4d"), 2, "--network must select among its kernels"),
        (("x.pt", "--network", "sknet_tiny", "--dataset", "cifar"), 2, "did you mean cifar10"),
        (("x.pt", "--network", "sknet_tiny", "--dataset", "synthetic"), 3, "x.pt"),
        (("experiments.yaml",), 2, "pass the name of its network as --network"),
        (("experiments.yaml", "--network", "sknet_tiny", "--dataset", "synthetic"), 2, "must"),
    ],
)
def test_what_is_impossible_is_refused(
    command: Callable[..., Answer],
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    """With one line, and nothing written."""
    answer = command("ablations", "attention", *arguments)

    assert (answer.code, message in answer.err) == (code, True), answer.err
    assert not (tmp_path / "results").exists()
