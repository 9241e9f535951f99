"""A disk that fills up: nothing half-written is read as finished, and a rerun completes."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Answer

from ablations.ledger import Ledger

pytestmark = pytest.mark.faults

LOCAL = ("--backend", "local")
ROOMS = [0, 40, 200]
"""Free space in kB: from none at all to enough for some of the records."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs the rights of root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, *, room: int) -> Path:
    """Fills a disk except for `room` kB; returns the file to remove."""
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - 1024 * room)
    return ballast


def read_table(folder: Path) -> str:
    """The table of the experiment `attention`."""
    return (folder / "attention/quick/table.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_full_disk_stopped_is_completed_later(
    room: int, command: Callable[..., Answer], disk: Path, tmp_path: Path
) -> None:
    """Checkpoints, records, failures and looks find no room: trials fail, or the run ends."""
    runs = disk / "runs"
    shutil.copytree(tmp_path / "runs", runs)
    options = ("--tracking-uri", "off", "--runs-dir", str(runs))
    undisturbed = command("run-ablation", "attention", *LOCAL, "--tracking-uri", "off")
    table = read_table(tmp_path / "results")
    shutil.rmtree(tmp_path / "results")
    ballast = fill(disk, room=room)

    full = command("run-ablation", "attention", *LOCAL, *options)
    found = Ledger(runs).examine([path.name for path in runs.glob("trials/*")], deep=True)
    ballast.unlink()
    again = command("run-ablation", "attention", *LOCAL, *options)

    assert (undisturbed.code, again.code) == (0, 0), again.err
    assert full.code in (1, 3)
    assert "No space left on device" in full.err
    assert "same command" in full.err.splitlines()[-1]
    assert "Traceback" not in full.err
    assert found.corrupt == {}
    assert read_table(tmp_path / "results") == table
    assert not list(runs.rglob(".*-*"))


def test_a_full_disk_below_the_results_is_reported(
    command: Callable[..., Answer], disk: Path
) -> None:
    """What was trained is kept, and the same command writes the results."""
    options = ("--tracking-uri", "off", "--results-dir", str(disk / "results"))
    ballast = fill(disk, room=20)

    full = command("run-ablation", "attention", *LOCAL, *options)
    ballast.unlink()
    again = command("run-ablation", "attention", *LOCAL, *options)
    check = command("ablations", "report", "attention", "--check", "--results-dir", options[-1])

    assert (full.code, again.code, check.code) == (3, 0, 0), full.err + check.err
    assert "No space left on device" in full.err.splitlines()[-1]
    assert "Traceback" not in full.err
    assert "nothing to train" in again.err


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_full_disk_below_the_store_costs_no_training(
    command: Callable[..., Answer], disk: Path
) -> None:
    """The run is complete, and `sync` brings the store up to date later."""
    uri = f"sqlite:///{disk}/mlflow.db"
    ballast = fill(disk, room=100)

    full = command("run-ablation", "attention", *LOCAL, "--tracking-uri", uri)
    ballast.unlink()
    synced = command("ablations", "sync", "attention", "--tracking-uri", uri)

    assert (full.code, synced.code) == (0, 0), full.err + synced.err
    assert "Traceback" not in full.err
    assert "6 of 6 finished" in full.out
    from mlflow import MlflowClient

    [experiment] = MlflowClient(uri).search_experiments(filter_string="name = 'attention'")
    runs = MlflowClient(uri).search_runs([experiment.experiment_id])
    kinds = [run.data.tags["ablations.kind"] for run in runs]
    assert sorted(kinds) == ["comparison", *["trial"] * 6]
