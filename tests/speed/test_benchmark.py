"""Benchmarks are found again by the networks that they measured, and shown in every form."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from studies import make_plan, make_records, make_study

from ablations.config import Recipe
from ablations.data.catalogue import Dataset
from ablations.errors import MachineError
from ablations.figures import list_charts
from ablations.plans import Plan
from ablations.report import check_report, render_report
from ablations.speed import (
    Benchmark,
    Conditions,
    Quantity,
    Speed,
    compute_agreement,
    find_benchmark,
    identify_variants,
    read_benchmarks,
    write_benchmark,
)
from ablations.study import Study, read_export
from ablations.tables import build_table, render_csv, render_latex, render_markdown
from ablations.tracking.descriptions import describe_trial
from ablations.trial.records import Environment

ENVIRONMENT = Environment(
    device="CPU x",
    python="3",
    torch="2.11",
    package="0",
    platform="Linux",
    commit="0123456789abcdef",
    dirty=False,
)


def make_conditions(**changes: object) -> Conditions:
    """Conditions at the paper's scale."""
    fields = {
        "scale": "paper",
        "image_size": 224,
        "precision": "fp32",
        "batch_size": 8,
        "threads": 2,
        "rounds": 5,
    }
    return Conditions(**(fields | changes))  # type: ignore[arg-type]


def make_speed(latency: float) -> Speed:
    """The speed of a network with this latency; rounds deviate by a quarter."""

    def spread(median: float) -> Quantity:
        return Quantity(median=median, least=0.75 * median, greatest=median)

    return Speed(
        train_images_per_second=spread(250 / latency),
        test_images_per_second=spread(1000 / latency),
        latency_ms=spread(latency),
        memory_mb=1234.0,
    )


def make_benchmark(plan: Plan, *, at: float = 0.0, **changes: object) -> Benchmark:
    """A benchmark of all variants of a plan, with latencies of 10, 20 and 30 ms."""
    conditions = make_conditions(**changes)
    keys = identify_variants(plan, conditions).values()
    return Benchmark(
        conditions=conditions,
        environment=ENVIRONMENT,
        measured_at=at,
        speeds={key: make_speed(10.0 * place) for place, key in enumerate(keys, 1)},
    )


@pytest.fixture
def plan(recipe: Recipe, dataset: Dataset) -> Plan:
    """Three variants with two seeds."""
    return make_plan(recipe, dataset)


@pytest.fixture
def study(plan: Plan) -> Study:
    """A study with speeds at the paper's scale."""
    return replace(make_study(plan, make_records(plan)), benchmark=make_benchmark(plan))


def test_a_benchmark_is_read_back_completely(plan: Plan, tmp_path: Path) -> None:
    """A repetition takes its place; another number of threads does not."""
    first, again = make_benchmark(plan), make_benchmark(plan, at=1.0)
    other = make_benchmark(plan, threads=1)

    paths = {write_benchmark(known, tmp_path) for known in (first, other, again)}

    assert len(paths) == 2
    assert sorted(read_benchmarks(tmp_path), key=lambda b: b.measured_at) == [other, again]
    assert read_benchmarks(tmp_path / "absent") == []


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"conditions": 1}'])
def test_a_damaged_benchmark_is_named(tmp_path: Path, content: str) -> None:
    """With advice."""
    (tmp_path / "x.json").write_text(content)

    with pytest.raises(MachineError, match=r"x.json must be a benchmark .* Remove it"):
        read_benchmarks(tmp_path)


def test_an_unwritable_folder_is_reported(plan: Plan, tmp_path: Path) -> None:
    """The measurement took minutes, but the machine is at fault."""
    (tmp_path / "file").write_text("")

    with pytest.raises(MachineError, match="--runs-dir"):
        write_benchmark(make_benchmark(plan), tmp_path / "file")


def test_the_latest_benchmark_of_all_variants_is_shown(plan: Plan) -> None:
    """Neither one of some variants nor one in another precision, however new."""
    old, new = make_benchmark(plan), make_benchmark(plan, at=1.0, scale="trained", image_size=32)
    partial = make_benchmark(plan, at=2.0)
    partial = replace(partial, speeds=dict(list(partial.speeds.items())[:2]))
    bf16 = make_benchmark(plan, at=3.0, precision="bf16")

    assert find_benchmark(plan, [old, new, partial, bf16]) == new
    assert find_benchmark(plan, [partial, old]) == old
    assert find_benchmark(plan, [partial, bf16]) is None


def test_other_networks_of_a_benchmark_are_left_out(plan: Plan) -> None:
    """A study exports only what it shows."""
    benchmark = make_benchmark(plan)
    larger = replace(benchmark, speeds={**benchmark.speeds, "other": make_speed(1.0)})

    assert find_benchmark(plan, [larger]) == benchmark


@pytest.mark.parametrize(("scale", "size"), [("paper", 224), ("trained", 32)])
def test_a_study_finds_the_speeds_of_its_variants(plan: Plan, scale: str, size: int) -> None:
    """By their networks, at both scales; of a changed network none is known."""
    benchmark = make_benchmark(plan, scale=scale, image_size=size)
    study = replace(make_study(plan, make_records(plan)), benchmark=benchmark)
    elsewhere = make_benchmark(plan, scale=scale, image_size=size + 32)

    latencies = {name: speed.latency_ms.median for name, speed in study.speeds.items()}

    assert latencies == {"base": 10.0, "other": 20.0, "extra": 30.0}
    if scale == "paper":
        assert replace(study, benchmark=elsewhere).speeds == {}


def test_a_study_with_speeds_is_exported_and_checked(study: Study, tmp_path: Path) -> None:
    """Everything is derived again from the exported files alone."""
    files = render_report(study, build_table(study), tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    back = read_export(tmp_path)

    assert back == study
    assert check_report(tmp_path) == []
    assert {"latency.svg", "table.md"} <= files.keys()


def test_every_form_of_the_table_shows_speeds(study: Study) -> None:
    """Medians, beside the complexities."""
    table = build_table(study)
    [base, *_] = csv.DictReader(io.StringIO(render_csv(table)))

    markdown, latex = render_markdown(table), render_latex(table)

    assert (base["latency_ms"], base["train_images_per_second"]) == ("10", "25")
    assert "| 25.0 | 100.0 | 10.00 | 1,234 |" in markdown
    assert (
        "| speed: training images/s | speed: inference images/s | speed: latency ms |" in markdown
    )
    assert "speed" in latex
    keys = list(table.headings)
    assert keys.index("trained_mflops") < keys.index("latency_ms") < keys.index("n")


def test_the_notes_state_how_speeds_were_measured(study: Study) -> None:
    """Scale, device, precision, batch size, threads, versions, spread, commit."""
    notes = "\n".join(build_table(study).notes)

    assert (
        "Speed: at the paper's scale, 224x224 pixels, on CPU x, fp32, 2 threads; batch size 8"
    ) in notes
    assert "deviate by up to 25%" in notes
    assert "torch 2.11; commit 0123456789ab." in notes
    assert "over 3 variants: undefined, since one of them is equal for all." in notes


def test_without_a_benchmark_nothing_changes(study: Study, tmp_path: Path) -> None:
    """No column, no note, no figure, no key of provenance.json."""
    without = replace(study, benchmark=None)
    files = render_report(without, build_table(without), tmp_path)

    assert "latency.svg" not in files
    assert "benchmark" not in json.loads(files["provenance.json"])
    assert "speed" not in files["table.md"].decode().lower()
    assert "latency_ms" not in build_table(without).rows


def test_the_figure_shows_errors_against_latency(study: Study) -> None:
    """Its caption states where and how latency was measured."""
    charts = {chart.name: chart for chart in list_charts(study, build_table(study))}

    data = charts["latency"].data.set_index("variant")

    assert dict(data["latency_ms"]) == {"base": 10.0, "other": 20.0, "extra": 30.0}
    assert data.loc["base", "top1_error_percent"] == 4.5
    assert "measured at the paper's scale, 224x224 pixels, on CPU x" in charts["latency"].caption


def test_a_run_in_mlflow_has_the_speed_of_its_variant(plan: Plan, study: Study) -> None:
    """As metrics; a run without a benchmark has none."""
    trial = plan.trials[0]
    record, scales = make_records(plan)[trial.spec.key], study.scales["base"]

    measured = describe_trial(trial, record, scales, speed=study.speeds["base"])
    plain = describe_trial(trial, record, scales)

    assert measured.metrics["speed/latency_ms"] == 10.0
    assert measured.metrics["speed/train_images_per_second"] == 25.0
    assert measured.digest != plain.digest
    assert not any(name.startswith("speed/") for name in plain.metrics)


@pytest.mark.parametrize(
    ("macs", "agreement"),
    [((1, 2, 3), 1.0), ((3, 2, 1), -1.0), ((1, 3, 2), 1 / 3), ((1, 1, 2), 2 / math.sqrt(6))],
)
def test_agreement_is_kendalls_tau_b(study: Study, macs: tuple[int, ...], agreement: float) -> None:
    """Ties of multiply-adds, which matched variants have, lower it."""
    scales = {
        name: replace(own, paper=replace(own.paper, macs=count))
        for (name, own), count in zip(study.scales.items(), macs, strict=True)
    }

    assert compute_agreement(study.speeds, scales, scale="paper") == pytest.approx(agreement)
    assert math.isnan(compute_agreement(study.speeds, scales, scale="trained"))


def test_deviation_is_relative_to_the_median() -> None:
    """The farther of both ends."""
    assert Quantity(median=2.0, least=1.5, greatest=4.0).deviation == 1.0
