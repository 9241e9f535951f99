"""Odd surroundings of a run: terminal, locale, home, paths, installation, clock."""

import io
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from conftest import EXPERIMENTS, ROOT, Answer
from rich.console import Console

from ablations import read_results
from ablations.cli import display
from ablations.cli.run import fill_compact
from ablations.ledger import Ledger

MAIN = "from ablations.cli import main; main()"
RUN = ("run", "dilation_group", "--recipe", "smoke", "--only", "3x3, D=2*", "--backend", "local")
UNCHANGED = {"PYTHONPATH": str(ROOT)}


def call(
    folder: Path, *arguments: str, changes: Mapping[str, str | None] = UNCHANGED
) -> "subprocess.CompletedProcess[bytes]":
    """Calls `ablations` in a folder, in an environment with changes; None removes a variable."""
    environment = {**os.environ, **UNCHANGED, **changes}
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        cwd=folder,
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True,
    )


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Path]:
    """The packages on a disk that cannot be written to."""
    folder = tmp_path / "installed"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a disk needs the rights of root")
    for name in ("sknet", "ablations"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "experiments.yaml", folder / "ablations")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("width", [20, 40, 80, 86])
def test_a_narrow_terminal_loses_no_column(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict is the last column of all; lines that are too long are wrapped."""
    shown = Console(file=io.StringIO(), width=width)
    monkeypatch.setattr(display, "stdout", shown)
    outcome = read_results(ROOT / "results/kernel_combination/quick")

    display.print_table(fill_compact(outcome.comparison))

    text = shown.file.getvalue()  # type: ignore[attr-defined]
    verdicts = outcome.table["verdict"].dropna()
    assert "verdict" in text
    assert sum(map(text.count, set(verdicts))) == len(verdicts)


@pytest.mark.parametrize(
    "changes",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
)
def test_a_terminal_without_unicode_shows_the_rest(tmp_path: Path, changes: dict[str, str]) -> None:
    """Tables have ± and –, which must not end a run after its training."""
    text = EXPERIMENTS.replace("Does attention help?", "Does ± – help?")
    text = text.replace("synthetic", "multiscale_digits")
    (tmp_path / "experiments.yaml").write_text(text, encoding="utf-8")

    answer = call(tmp_path, "list", changes=changes)

    assert answer.returncode == 0, answer.stderr
    assert b" help?" in answer.stdout


@pytest.mark.faults
@pytest.mark.parametrize(
    ("folder", "changes", "options"),
    [
        ("a", {"HOME": None}, ()),
        ("a", {"HOME": "/proc/none"}, ("--tracking-uri", "off")),
        ("ä b/ü'#%", {}, ()),
        ("ä b/ü'#%", {"LC_ALL": "C"}, ("--backend", "ray", "--tracking-uri", "off")),
    ],
)
def test_a_run_needs_neither_a_home_nor_a_plain_path(
    tmp_path: Path, folder: str, changes: dict[str, str | None], options: tuple[str, ...]
) -> None:
    """From a container without a user, and below folders that people name as they like."""
    place = tmp_path / folder
    place.mkdir(parents=True)

    answer = call(place, *RUN, *options, changes=changes)
    status = call(place, "status", "dilation_group", "--recipe", "smoke", changes=changes)

    assert (answer.returncode, status.returncode) == (0, 0), answer.stderr.decode()
    assert "MLflow:" not in answer.stderr.decode()
    assert list(place.glob("runs/trials/*/record.json"))
    assert (place / "runs/mlflow.db").is_file() == (not options)


@pytest.mark.faults
def test_an_installation_may_be_read_only(installed: Path, tmp_path: Path) -> None:
    """As in a container, where there is no home for caches either."""
    changes = {"PYTHONPATH": str(installed), "HOME": "/proc/none"}

    answer = call(tmp_path, *RUN, "--tracking-uri", "off", changes=changes)

    assert answer.returncode == 0, answer.stderr.decode()
    assert list(tmp_path.glob("runs/trials/*/record.json"))


def test_a_clock_that_goes_back_changes_no_duration(
    command: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Durations come from a clock that only goes forward, and MLflow takes the records."""
    seconds = itertools.count(2e9, -3600)
    monkeypatch.setattr("ablations.reconcile.recorder.time.time", lambda: next(seconds))

    answer = command("run-ablation", "attention", "--backend", "local", "--tracking-uri", "off")

    assert answer.code == 0
    runs = tmp_path / "runs"
    found = Ledger(runs).examine([path.name for path in runs.glob("trials/*")])
    assert len(found.records) == 6
    for record in found.records.values():
        assert all(min(e.train_seconds, e.test_seconds) > 0 for e in record.epochs)
