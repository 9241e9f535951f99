"""`ablations bench`: what it prints, keeps and refuses, and what tables show afterwards."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Answer

from ablations.speed import Conditions, Quantity, Speed, measurement, read_benchmarks

LOCAL = ("--backend", "local", "--tracking-uri", "off")
BENCH = ("bench", "kernels", "--scale", "trained", "--device", "cpu")
NAMES = ("3x3, D=2, G=32", "3x3, D=1, G=32")


def make_quantity(median: float, *, greatest: float | None = None) -> Quantity:
    """A median with a range of one unit to each side."""
    return Quantity(median=median, least=median - 1, greatest=greatest or median + 1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Conditions]:
    """The conditions of each measurement; speeds are given, not measured."""
    seen: list[Conditions] = []

    def give(
        networks: dict[str, object], _: object, conditions: Conditions, **__: object
    ) -> dict[str, Speed]:
        seen.append(conditions)
        return {
            key: Speed(
                train_images_per_second=make_quantity(2000.0),
                test_images_per_second=make_quantity(8000.0),
                latency_ms=make_quantity(10.0 + place),
                memory_mb=64.0,
            )
            for place, key in enumerate(networks)
        }

    monkeypatch.setattr(measurement, "measure_networks", give)
    return seen


def test_a_benchmark_is_printed_and_kept(command: Callable[..., Answer], tmp_path: Path) -> None:
    """Measured for real, in one round."""
    answer = command("ablations", *BENCH, "--rounds", "1", "--threads", "1", "--batch-size", "4")

    assert answer.code == 0
    assert all(name in answer.out for name in NAMES)
    assert "speed at the recipe's scale, 32x32 pixels, on CPU" in answer.out
    assert "Rank agreement of multiply-adds and latency over 2 variants: " in answer.out
    [benchmark] = read_benchmarks(tmp_path / "runs" / "speed")
    assert f"Kept in runs/speed/{benchmark.key}.json." in answer.out
    assert len(benchmark.speeds) == 2
    assert (benchmark.conditions.rounds, benchmark.conditions.batch_size) == (1, 4)
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "experiments.yaml"}


def test_the_range_over_rounds_is_printed(
    command: Callable[..., Answer], asked: list[Conditions]
) -> None:
    """In brackets after the median."""
    answer = command("ablations", *BENCH)

    assert "2,000 (1,999–2,001)" in answer.out
    assert "11 (10–12)" in answer.out
    assert [conditions.rounds for conditions in asked] == [5]


@pytest.mark.parametrize(("greatest", "is_warned"), [(11.0, False), (30.0, True)])
def test_unsteady_rounds_are_reported(
    command: Callable[..., Answer],
    asked: list[Conditions],
    monkeypatch: pytest.MonkeyPatch,
    greatest: float,
    is_warned: bool,
) -> None:
    """Other programs make the medians meaningless, and only the user can stop them."""
    given = measurement.measure_networks

    def disturb(*arguments: object, **places: object) -> dict[str, Speed]:
        slow = make_quantity(10.0, greatest=greatest)
        speeds = given(*arguments, **places)  # type: ignore[arg-type]
        return {key: replace(speed, latency_ms=slow) for key, speed in speeds.items()}

    monkeypatch.setattr(measurement, "measure_networks", disturb)

    answer = command("ablations", *BENCH)

    assert ("Rounds deviate by up to 200% from their median" in answer.out) == is_warned
    assert len(asked) == 1


def test_json_holds_everything(command: Callable[..., Answer], asked: list[Conditions]) -> None:
    """Complexity and speed by variant, and the conditions."""
    content = json.loads(command("ablations", *BENCH, "--json").out)

    assert list(content["variants"]) == list(NAMES)
    assert content["variants"][NAMES[1]]["latency_ms"]["median"] == 11.0
    assert content["variants"][NAMES[0]]["complexity"]["macs"] > 0
    assert content["conditions"]["batch_size"] == asked[0].batch_size == 16  # the recipe's
    assert content["agreement"] is None  # matched: their multiply-adds are equal


def test_the_papers_scale_is_the_default(
    command: Callable[..., Answer], asked: list[Conditions]
) -> None:
    """With batches that a processor works on for some seconds."""
    command("ablations", "bench", "kernels", "--device", "cpu", "--set", "batch_size=256")

    assert [(c.scale, c.image_size, c.batch_size) for c in asked] == [("paper", 224, 8)]


@pytest.mark.usefixtures("asked")
def test_tables_show_the_speeds(command: Callable[..., Answer], tmp_path: Path) -> None:
    """After the next report, also without runs/; a check agrees."""
    command("run-ablation", "kernels", *LOCAL)
    folder = tmp_path / "results" / "kernels" / "quick"
    assert "latency" not in (folder / "table.md").read_text()
    answer = command("ablations", *BENCH)
    assert "`ablations report kernels` adds it to the tables." in answer.out

    command("ablations", "report", "kernels")
    (tmp_path / "runs").rename(tmp_path / "away")
    checked = command("ablations", "report", "--all", "--check")
    again = command("ablations", "report", "kernels")

    assert checked.code == 0
    assert "unchanged" in again.out
    assert "speed: latency ms" in (folder / "table.md").read_text()
    assert (folder / "latency.svg").is_file()


@pytest.mark.usefixtures("asked")
def test_a_run_shows_the_speeds(command: Callable[..., Answer], tmp_path: Path) -> None:
    """Measured before it."""
    command("ablations", *BENCH)

    command("run-ablation", "kernels", *LOCAL)

    assert "latency ms" in (tmp_path / "results/kernels/quick/table.md").read_text()


@pytest.mark.usefixtures("asked")
def test_a_narrowed_benchmark_leaves_tables_alone(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    """It is printed and kept, but some rows would have no speed."""
    answer = command("ablations", *BENCH, "--only", "*D=2*")

    assert NAMES[0] in answer.out
    assert NAMES[1] not in answer.out
    assert "ablations report" not in answer.out
    assert len(read_benchmarks(tmp_path / "runs" / "speed")) == 1
    command("run-ablation", "kernels", *LOCAL)
    assert "latency" not in (tmp_path / "results/kernels/quick/table.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("kernel",), 2, "did you mean kernels?"),
        (("kernels", "--recipe", "quik"), 2, "did you mean quick?"),
        (("kernels", "--only", "x"), 2, "--only and --exclude must leave a variant"),
        (("kernels", "--rounds", "0"), 2, "--rounds"),
        (("kernels", "--device", "cuda"), 3, "--device cuda needs a GPU"),
    ],
)
def test_what_is_impossible_is_refused(
    command: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    """Before anything is measured or written."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    answer = command("ablations", "bench", *arguments)

    assert answer.code == code
    assert message in answer.err
    assert not (tmp_path / "runs" / "speed").exists()
