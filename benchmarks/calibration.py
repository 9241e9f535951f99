"""Error rates of the procedure of docs/statistics.md, measured on simulated tables.

    python benchmarks/calibration.py                # the figures of docs/statistics.md
    python benchmarks/calibration.py --tables 2000  # the same, faster and less precise

Thousands of tables are judged at once, on arrays instead of the data frames of
`ablations.statistics`. A test checks that both give the same results.
"""

import argparse
import itertools
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import special

from ablations.statistics import CORRECTION, SIGNIFICANCE

Floats = NDArray[np.float64]
Noise = Literal["normal", "skewed"]

SPREADS = {
    "equal": (0, 1),
    "baseline twice the others'": (0, 2),
    "one row twice the others'": (1, 2),
    "baseline four times the others'": (0, 4),
    "one row eight times the others'": (1, 8),
}
"""The column with another standard deviation (0 is the baseline), and its factor."""

MARGIN = 2.0
"""Margin of the tables of equivalent rows, in standard deviations of an error."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A kind of table."""

    seeds: int
    """n."""

    rows: int
    """k, without the baseline."""

    noise: Noise = "normal"
    """Normal, or exponential: skewed to large errors."""

    spreads: str = "equal"
    """Key of `SPREADS`; the standard deviation of all other columns is 1."""

    shift: float = 0.0
    """Difference of the shifted rows from the baseline, in standard deviations of an error."""

    shifted: int = 0
    """Number of shifted rows; they come first."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Results of many complete tables, each tables x rows without the baseline."""

    difference: Floats
    half_width: Floats
    variance: Floats
    p_corrected: Floats


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Rates measured on one kind of table, as fractions."""

    tables: int
    """Number of tables."""

    false_tables: float
    """Tables that call at least one row better or worse that does not differ."""

    coverage: float
    """Intervals that contain the true difference."""

    power: float
    """Shifted rows that are called worse; NaN if none is shifted."""

    equivalent_tables: float
    """Tables that call at least one shifted row equivalent at the margin of `MARGIN`."""


def simulate(cell: Cell, tables: int, generator: np.random.Generator) -> Floats:
    """Draws errors, tables x seeds x columns; column 0 is the baseline, seeds shift all columns."""
    shape = (tables, cell.seeds, cell.rows + 1)
    if cell.noise == "normal":
        noise = generator.standard_normal(shape)
    else:
        noise = generator.exponential(size=shape) - 1
    column, factor = SPREADS[cell.spreads]
    noise[:, :, column] *= factor
    noise[:, :, 1 : cell.shifted + 1] += cell.shift
    return noise + generator.standard_normal((tables, cell.seeds, 1))


def judge(errors: Floats) -> Judged:
    """Applies rules 1 to 5 to complete tables."""
    _, n, columns = errors.shape
    k = columns - 1
    df = k * (n - 1)
    differences = errors[:, :, 1:] - errors[:, :, :1]
    means = differences.mean(axis=1)
    own = differences.var(axis=1, ddof=1)
    row_means, seed_means = errors.mean(axis=1, keepdims=True), errors.mean(axis=2, keepdims=True)
    residuals = errors - row_means - seed_means + errors.mean(axis=(1, 2), keepdims=True)
    mse = (residuals**2).sum(axis=(1, 2)) / df
    shared = np.maximum(2 * mse, own.mean(axis=1))
    variance = np.maximum(own, shared[:, None])
    error = np.sqrt(variance / n)
    p = 2 * special.stdtr(df, -np.abs(means) / error)
    return Judged(
        difference=means,
        half_width=special.stdtrit(df, 0.975) * error,
        variance=variance,
        p_corrected=CORRECTION.correct(p, family=k),
    )


def correct_by_holm(p: Floats) -> Floats:
    """Holm's correction along the last axis."""
    order = np.argsort(p, axis=-1)
    factors = np.arange(p.shape[-1], 0, -1)
    stepped = np.minimum(1.0, np.take_along_axis(p, order, axis=-1) * factors)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, np.maximum.accumulate(stepped, axis=-1), axis=-1)
    return corrected


def measure(cell: Cell, *, tables: int, seed: int) -> Rates:
    """Measures the rates on `tables` simulated tables."""
    generator = np.random.default_rng([seed, cell.seeds, cell.rows])
    judged = judge(simulate(cell, tables, generator))
    is_shifted = np.arange(cell.rows) < cell.shifted
    truth = np.where(is_shifted, cell.shift, 0.0)
    declared = judged.p_corrected < SIGNIFICANCE
    found = (declared & (judged.difference > 0))[:, is_shifted]
    covered = np.abs(judged.difference - truth) <= judged.half_width
    is_inside = np.abs(judged.difference) + judged.half_width <= MARGIN
    equivalent = (is_inside & ~declared)[:, is_shifted]
    return Rates(
        tables=tables,
        false_tables=float(declared[:, ~is_shifted].any(axis=1).mean()),
        coverage=float(covered.mean()),
        power=float(found.mean()) if found.size else float("nan"),
        equivalent_tables=float(equivalent.any(axis=1).mean()),
    )


def measure_looks(looks: Sequence[int], *, rows: int, tables: int, seed: int) -> float:
    """Measures the tables with a false verdict at any of several looks, each with more seeds."""
    cell = Cell(seeds=max(looks), rows=rows)
    errors = simulate(cell, tables, np.random.default_rng([seed, rows, len(looks)]))
    wrong = np.zeros(tables, bool)
    for n in looks:
        wrong |= (judge(errors[:, :n]).p_corrected < SIGNIFICANCE).any(axis=1)
    return float(wrong.mean())


def list_cells() -> Iterator[Cell]:
    """All kinds of tables in which no row differs."""
    noises: tuple[Noise, ...] = ("normal", "skewed")
    for spread, noise, rows in itertools.product(SPREADS, noises, (4, 10)):
        for seeds in (3, 5, 10):
            yield Cell(seeds=seeds, rows=rows, noise=noise, spreads=spread)


def render(tables: int, seed: int) -> Iterator[str]:
    """Yields the figures as lines of Markdown."""
    python = f"Python {platform.python_version()}"
    versions = f"{python}, NumPy {np.__version__}, SciPy {scipy.__version__}"
    yield f"{tables:,} tables per cell, seed {seed}; {versions}."
    yield "\n| spreads | noise | k | n | tables with a false verdict | coverage |"
    yield "|---|---|---|---|---|---|"
    for cell in list_cells():
        rates = measure(cell, tables=tables, seed=seed)
        kind = f"{cell.spreads} | {cell.noise} | {cell.rows} | {cell.seeds}"
        yield f"| {kind} | {rates.false_tables:.1%} | {rates.coverage:.1%} |"
    yield (
        "\nPower for a difference of two standard deviations of a row's error (normal noise, equal "
        "spreads):"
    )
    yield "\n| k | n | power, one row differs | power, all rows differ |"
    yield "|---|---|---|---|"
    for rows, seeds in itertools.product((4, 10), (3, 5, 10)):
        one, every = (
            measure(
                Cell(seeds=seeds, rows=rows, shift=2.0, shifted=shifted), tables=tables, seed=seed
            )
            for shifted in (1, rows)
        )
        yield f"| {rows} | {seeds} | {one.power:.1%} | {every.power:.1%} |"
    yield (
        "\nAll rows differ from the baseline by the margin of two standard deviations (normal "
        "noise, equal spreads):"
    )
    yield "\n| k | n | tables that call a row equivalent whose difference is the margin |"
    yield "|---|---|---|"
    for rows, seeds in itertools.product((4, 10), (5, 10)):
        cell = Cell(seeds=seeds, rows=rows, shift=MARGIN, shifted=rows)
        rates = measure(cell, tables=tables, seed=seed)
        yield f"| {rows} | {seeds} | {rates.equivalent_tables:.1%} |"
    yield (
        "\nOne planned look, one extension, and a look after every added seed (normal noise, equal "
        "spreads, no row differs):"
    )
    yield "\n| k | looks with n | tables with a false verdict at any look |"
    yield "|---|---|---|"
    for rows, looks in itertools.product((4, 10), ((3,), (3, 5), (3, 10), tuple(range(3, 21)))):
        rate = measure_looks(looks, rows=rows, tables=tables, seed=seed)
        label = ", ".join(map(str, looks)) if len(looks) < 5 else f"{looks[0]}, 4, … {looks[-1]}"
        yield f"| {rows} | {label} | {rate:.1%} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tables", type=int, default=20_000, help="tables per cell")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    arguments = parser.parse_args()
    sys.stdout.writelines(f"{line}\n" for line in render(arguments.tables, arguments.seed))
