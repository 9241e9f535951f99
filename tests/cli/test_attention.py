"""`ablations attention`: what it prints, keeps and refuses, and that checks cover it."""

import json
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
    *("depth.svg", "interventions.svg", "classes.svg", "montage.svg"),
}


@pytest.fixture
def trained(command: Callable[..., Answer], tmp_path: Path) -> Path:
    """A folder in which both variants are trained with three seeds."""
    assert command("run-ablation", "attention", *LOCAL).code == 0
    return tmp_path


def test_trained_networks_are_recorded(command: Callable[..., Answer], trained: Path) -> None:
    """The table is printed and kept, the report shows it, and a check agrees without runs/."""
    before = (trained / "results/attention/quick/table.md").read_text()

    answer = command("ablations", "attention", "attention")
    again = command("ablations", "attention", "attention")

    assert answer.code == 0
    assert "| SK | SK_2_1 | 3x3 + 5x5 |" in answer.out
    assert "sum is not recorded: it adds its kernels up" in answer.out
    assert again.out == answer.out
    assert {path.name for path in (trained / FOLDER).iterdir()} == DERIVED
    assert (trained / "results/attention/quick/table.md").read_text() == before
    assert 'id="attention"' in (trained / "results/attention/quick/report.html").read_text()
    (trained / "runs").rename(trained / "away")
    assert command("ablations", "report", "--all").code == 0
    checked = command("ablations", "report", "--all", "--check")
    assert (checked.code, checked.err) == (0, "")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("table.md", lambda text: text.replace("SK_2_1", "SK_9_9"), "edited or out of date"),
        ("units.csv", lambda text: text + "\n", "edited or out of date"),
        ("depth.svg", lambda text: text.replace("SK_2_1", "SK_9_9"), "edited or out of date"),
        ("records.json", lambda text: text.replace("SK_2_1", "SK_9_9"), "another checksum"),
        ("mine.txt", lambda _: "mine", "does not belong there"),
    ],
)
def test_checks_cover_the_recording(
    command: Callable[..., Answer],
    trained: Path,
    name: str,
    change: Callable[[str], str],
    message: str,
) -> None:
    """Whatever is edited or foreign is found."""
    command("ablations", "attention", "attention")
    path = trained / FOLDER / name
    path.write_text(change(path.read_text() if path.exists() else ""))

    checked = command("ablations", "report", "--all", "--check")

    assert checked.code == 1
    assert message in checked.err
    assert name in checked.err


def test_a_recording_of_other_trials_is_found(
    command: Callable[..., Answer], trained: Path
) -> None:
    """It cannot be copied from one study to another."""
    command("ablations", "attention", "attention")
    command("run-ablation", "kernels", *LOCAL)
    (trained / FOLDER).rename(trained / "results/kernels/quick/attention")

    checked = command("ablations", "report", "--all", "--check")

    assert checked.code == 1
    assert (
        "the attention of attention on quick must be that of the trials of kernels" in checked.err
    )


def test_json_holds_the_numbers(command: Callable[..., Answer], trained: Path) -> None:
    """For programs; a narrowed recording leaves results alone."""
    answer = command("ablations", "attention", "attention", "--seeds", "0,1", "--json")

    content = json.loads(answer.out)
    assert [unit["n"] for unit in content["units"]] == [2]
    assert [own["intervention"] for own in content["interventions"]] == [
        *("mean", "smallest", "largest", "shuffled")
    ]
    assert content["folder"].startswith("runs/tables/attention/quick")
    assert not (trained / FOLDER).exists()


def test_a_control_on_shuffled_labels_is_used(
    command: Callable[..., Answer], trained: Path
) -> None:
    """It is an ordinary trial of the ledger."""
    setting = ("--set", "shuffled_labels=true", "--only", "SK", "--seeds", "0,1")
    assert command("run-ablation", "attention", *setting, *LOCAL).code == 0

    command("ablations", "attention", "attention")

    records = json.loads((trained / FOLDER / "records.json").read_text())
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
        (("attention",), 1, "train with `run-ablation attention`"),
        (("attention", "--only", "sum"), 2, "it has no gate, not even a hypothetical one"),
        (("kernels", "--only", "*D=1*"), 2, "none is larger"),
        (("x.pt", "--network", "sknet5"), 2, "did you mean sknet50?"),
        (("x.pt", "--network", "resnext50"), 2, "--network must select among its kernels"),
        (("x.pt", "--network", "sknet_tiny", "--dataset", "cifar"), 2, "did you mean cifar10"),
        (("x.pt", "--network", "sknet_tiny", "--dataset", "synthetic"), 3, "x.pt"),
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
