"""The error rates of docs/statistics.md, measured again with fewer tables."""

import importlib.util
import re
import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from ablations.statistics import SIGNIFICANCE, compare_with_baseline, find_level

TABLES, PRINTED_TABLES = 2000, 20_000
FOLLOWED_TABLES = 60


def load_calibration() -> ModuleType:
    """Imports the simulation, which is a script outside the package."""
    spec = importlib.util.spec_from_file_location("calibration", ROOT / "benchmarks/calibration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["calibration"] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


calibration = load_calibration()
PAGE = (ROOT / "docs/statistics.md").read_text(encoding="utf-8")
NUMBER = r"(\d+(?:\.\d)?)"
PAIR = rf"{NUMBER}% \| {NUMBER}%"
CELLS = re.findall(
    rf"^\| ([^|]+) \| (normal|skewed) \| (\d+) \| (\d+) \| {PAIR} \|$", PAGE, flags=re.MULTILINE
)
POWERS = re.findall(rf"^\| (\d+) \| (\d+) \| {PAIR} \|$", PAGE, flags=re.MULTILINE)
EQUIVALENT = re.findall(rf"^\| (\d+) \| (5|10) \| {NUMBER}% \|$", PAGE, flags=re.MULTILINE)
LOOKS = re.findall(rf"^\| (\d+) \| (3(?:,[^|]*)?) \| {NUMBER}% \|$", PAGE, flags=re.MULTILINE)
VALUE = r"(\d+\.\d+)"
PLANNED = re.findall(
    rf"^\| ([^|]+) \| (normal|skewed) \| (\d+) \| {PAIR} \|$", PAGE, flags=re.MULTILINE
)
SHIFTED = re.findall(
    rf"^\| (\d+) \| (\d) \| {NUMBER}% \| {VALUE} \| {VALUE} \| {VALUE} \|$",
    PAGE,
    flags=re.MULTILINE,
)
RESAMPLED = re.findall(
    rf"^\| ({'|'.join(calibration.PRINTED)}) \| (\d+) \| {NUMBER}% \| {VALUE} \|$",
    PAGE,
    flags=re.MULTILINE,
)
EQUAL = re.findall(rf"^\| (\d+) \| {PAIR} \| {VALUE} \|$", PAGE, flags=re.MULTILINE)


def tolerance(rate: float, tables: int = TABLES, printed: int = PRINTED_TABLES) -> float:
    """Three standard errors of the measured rate minus the printed one, which is rounded."""
    return 3 * (rate * (1 - rate) * (1 / tables + 1 / printed)) ** 0.5 + 0.0005


def tolerate_followed(rate: float) -> float:
    """The same for planned looks that the program takes, as if a table had one row."""
    return tolerance(rate, FOLLOWED_TABLES, calibration.LOOKS_TABLES)


@pytest.mark.parametrize(("rows", "seeds"), [(1, 2), (4, 3), (10, 3), (4, 10)])
def test_the_simulation_computes_what_the_program_does(rows: int, seeds: int) -> None:
    """Otherwise its figures would describe another procedure."""
    cell = calibration.Cell(
        seeds=seeds, rows=rows, spreads="one row twice the others'", shift=1.0, shifted=1
    )
    tables = calibration.simulate(cell, 20, np.random.default_rng(1))

    judged = calibration.judge(tables)

    for index, table in enumerate(tables):
        errors = pd.DataFrame(table, columns=[str(column) for column in range(rows + 1)])
        found = list(compare_with_baseline(errors, "0", family=rows).values())
        for name in ("half_width", "variance", "p_corrected"):
            expected = [getattr(row, name) for row in found]
            np.testing.assert_allclose(getattr(judged, name)[index], expected, rtol=1e-6)


def test_the_page_has_every_cell() -> None:
    """Spreads, two kinds of noise, two k, three n; power, equivalence and looks."""
    assert len(CELLS) == len(list(calibration.list_cells()))
    assert (len(POWERS), len(EQUIVALENT), len(LOOKS)) == (6, 4, 8)
    assert len(PLANNED) == len(list(calibration.list_planned_cells()))
    assert (len(SHIFTED), len(EQUAL), len(RESAMPLED)) == (6, 2, 12)


def test_every_rule_that_the_code_cites_is_on_the_page() -> None:
    """Docstrings cite rules by number, alone, as a range or as a list."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "ablations").rglob("*.py")]
    cited = {
        int(number)
        for source in [*sources, (ROOT / "benchmarks/calibration.py").read_text(encoding="utf-8")]
        for numbers in re.findall(r"[Rr]ules? ((?:\d+(?:, | to | and )?)+)", source)
        for number in re.findall(r"\d+", numbers)
    }
    rules = [int(number) for number in re.findall(r"^(\d+)\. ", PAGE, flags=re.MULTILINE)]

    assert rules == list(range(1, 23))
    assert cited <= set(rules)
    assert len(cited) > 10


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: " ".join(cell[:4]))
def test_rates_match_the_page(cell: tuple[str, ...]) -> None:
    """False verdicts and coverage, with another seed than the page."""
    kind = calibration.Cell(noise=cell[1], rows=int(cell[2]), seeds=int(cell[3]), spreads=cell[0])
    false_tables, coverage = float(cell[4]) / 100, float(cell[5]) / 100

    rates = calibration.measure(kind, tables=TABLES, seed=1)

    assert rates.false_tables == pytest.approx(false_tables, abs=tolerance(false_tables))
    assert rates.coverage == pytest.approx(coverage, abs=tolerance(coverage))
    if cell[0] == "equal":
        assert rates.false_tables < 0.03 + tolerance(0.03)


@pytest.mark.parametrize("cell", POWERS, ids=lambda cell: " ".join(cell[:2]))
def test_power_matches_the_page(cell: tuple[str, ...]) -> None:
    """For a difference of two standard deviations of one row, and of all rows."""
    rows, seeds = int(cell[0]), int(cell[1])
    for shifted, printed in ((1, float(cell[2]) / 100), (rows, float(cell[3]) / 100)):
        kind = calibration.Cell(seeds=seeds, rows=rows, shift=2.0, shifted=shifted)

        power = calibration.measure(kind, tables=TABLES, seed=1).power

        assert power == pytest.approx(printed, abs=tolerance(printed))


@pytest.mark.parametrize("cell", EQUIVALENT, ids=lambda cell: " ".join(cell[:2]))
def test_false_equivalence_matches_the_page(cell: tuple[str, ...]) -> None:
    """Rows that differ by exactly the margin, which is not corrected over rows."""
    rows, seeds, printed = int(cell[0]), int(cell[1]), float(cell[2]) / 100
    kind = calibration.Cell(seeds=seeds, rows=rows, shift=calibration.MARGIN, shifted=rows)

    rate = calibration.measure(kind, tables=TABLES, seed=1).equivalent_tables

    assert rate == pytest.approx(printed, abs=tolerance(printed))


@pytest.mark.parametrize("rows", [4, 10])
def test_testing_after_every_seed_raises_the_error_rate(rows: int) -> None:
    """So tables with further looks are headed `exploratory`."""
    printed = {label: float(rate) / 100 for k, label, rate in LOOKS if int(k) == rows}

    for label, looks in (("3, 5", (3, 5)), ("3, 4, … 20", tuple(range(3, 21)))):
        cell = calibration.Cell(seeds=looks[-1], rows=rows)

        rate = calibration.measure_looks(looks, cell, tables=TABLES, seed=1)

        assert rate == pytest.approx(printed[label], abs=tolerance(printed[label]))


def test_the_simulation_takes_looks_as_the_program_does() -> None:
    """Without a margin no row stops before the first false verdict."""
    cell = calibration.Cell(seeds=20, rows=3, spreads="baseline four times the others'")
    tables = calibration.simulate(cell, 30, np.random.default_rng(1))
    stopped = calibration.follow(tables, calibration.LOOKS, margin=0.0)

    declared = calibration.find_declared(
        tables, calibration.LOOKS, level=find_level(calibration.LOOKS)
    )

    assert declared.any()
    assert declared.tolist() == (stopped.words != "undecided").any(axis=1).tolist()


@pytest.mark.parametrize("cell", PLANNED, ids=lambda cell: " ".join(cell[:3]))
def test_error_rates_of_planned_looks_match_the_page(cell: tuple[str, ...]) -> None:
    """At the level of the plan, and at 5 % for contrast."""
    looks = calibration.LOOKS
    kind = calibration.Cell(noise=cell[1], rows=int(cell[2]), seeds=looks[-1], spreads=cell[0])
    for level, printed in zip((find_level(looks), SIGNIFICANCE), cell[3:], strict=True):
        expected = float(printed) / 100

        rate = calibration.measure_looks(looks, kind, tables=TABLES, seed=1, level=level)

        assert rate == pytest.approx(expected, abs=tolerance(expected))
        if cell[0] == "equal" and level < SIGNIFICANCE:
            assert rate < SIGNIFICANCE


@pytest.mark.parametrize("cell", SHIFTED, ids=lambda cell: " ".join(cell[:2]))
def test_power_of_planned_looks_matches_the_page(cell: tuple[str, ...]) -> None:
    """Power and the number of seeds that it takes."""
    power, seeds, shown = float(cell[2]) / 100, float(cell[3]), float(cell[4])
    kind = calibration.Cell(
        seeds=calibration.LOOKS[-1], rows=4, shift=float(cell[1]), shifted=int(cell[0])
    )
    tables = calibration.simulate(kind, FOLLOWED_TABLES, np.random.default_rng(1))

    stopped = calibration.follow(tables, calibration.LOOKS, margin=calibration.LOOKS_MARGIN)
    rates = calibration.rate(kind, stopped)

    error = stopped.seeds[:, kind.is_shifted].mean(axis=1).std() / FOLLOWED_TABLES**0.5
    assert rates.power == pytest.approx(power, abs=tolerate_followed(power))
    assert rates.seeds == pytest.approx(seeds, abs=3.1 * error + 0.05)
    assert rates.shown > kind.shift
    assert rates.shown == pytest.approx(shown, abs=0.3)


@pytest.mark.parametrize("cell", EQUAL, ids=lambda cell: cell[0])
def test_equivalence_with_planned_looks_matches_the_page(cell: tuple[str, ...]) -> None:
    """Rows that do not differ, and the number of seeds that it takes to say so."""
    equivalent, seeds = float(cell[2]) / 100, float(cell[3])
    kind = calibration.Cell(seeds=calibration.LOOKS[-1], rows=int(cell[0]))
    tables = calibration.simulate(kind, FOLLOWED_TABLES, np.random.default_rng(1))

    stopped = calibration.follow(tables, calibration.LOOKS, margin=calibration.LOOKS_MARGIN)
    rates = calibration.rate(kind, stopped)

    error = stopped.seeds.mean(axis=1).std() / FOLLOWED_TABLES**0.5
    assert rates.equivalent == pytest.approx(equivalent, abs=tolerate_followed(equivalent))
    assert rates.seeds_equal == pytest.approx(seeds, abs=3.1 * error + 0.05)


@pytest.mark.parametrize("cell", RESAMPLED, ids=lambda cell: " ".join(cell[:2]))
def test_resampled_rankings_contain_the_true_one_as_often_as_the_page_says(
    cell: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hardly ever if the true rankings are equal, which the page must not hide."""
    monkeypatch.setattr(calibration, "AGREEMENT_SAMPLES", 300)
    printed, n, share, upper = calibration.PRINTED[cell[0]], int(cell[1]), *map(float, cell[2:])

    covered, upper_end = calibration.measure_intervals(printed, seeds=n, tables=300, seed=1)

    assert covered == pytest.approx(share / 100, abs=tolerance(share / 100, 300, 2000) + 0.01)
    assert upper_end == pytest.approx(upper, abs=0.06)
