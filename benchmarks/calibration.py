"""How often the procedure of docs/statistics.md errs, measured on simulated tables.

    python benchmarks/calibration.py                # the figures of docs/statistics.md
    python benchmarks/calibration.py --tables 2000  # the same, rougher and quicker

Thousands of tables are judged at once, with arrays in place of `ablations.statistics`' data frames;
a test holds the two against each other, table by table.
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

Floats = NDArray[np.float64]
Noise = Literal["normal", "skewed"]
Spreads = Literal["equal", "baseline", "row"]

SPREADS = {
    "equal": "equal",
    "baseline": "baseline twice the others'",
    "row": "one row twice the others'",
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A kind of table."""

    seeds: int
    """n."""

    rows: int
    """k, besides the baseline."""

    noise: Noise = "normal"
    """Normal, or exponential: skewed to large errors."""

    spreads: Spreads = "equal"
    """Whether all rows have the standard deviation 1, or the baseline or one row has 2."""

    shift: float = 0.0
    """By how much rows are worse than the baseline, in standard deviations of a row's error."""

    shifted: int = 0
    """Number of rows that are shifted, the first ones."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the procedure says of many complete tables, tables x rows without the baseline."""

    difference: Floats
    half_width: Floats
    variance: Floats
    p_holm: Floats


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What was measured on tables of one kind, as fractions."""

    tables: int
    """Number of tables."""

    false_tables: float
    """Tables with at least one false declaration, of rows that do not differ."""

    coverage: float
    """Intervals of differences that hold the true difference."""

    power: float
    """Shifted rows that are declared worse; NaN if none is shifted."""


def simulate(cell: Cell, tables: int, generator: np.random.Generator) -> Floats:
    """Errors, tables x seeds x rows, the baseline first; a seed shifts all of its rows."""
    shape = (tables, cell.seeds, cell.rows + 1)
    if cell.noise == "normal":
        noise = generator.standard_normal(shape)
    else:
        noise = generator.exponential(size=shape) - 1
    if cell.spreads != "equal":
        noise[:, :, 0 if cell.spreads == "baseline" else 1] *= 2
    noise[:, :, 1 : cell.shifted + 1] += cell.shift
    return noise + generator.standard_normal((tables, cell.seeds, 1))


def judge(errors: Floats) -> Judged:
    """Rules 1 to 5 on complete tables."""
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
        p_holm=correct_by_holm(p),
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
    """Rates over `tables` simulated tables."""
    generator = np.random.default_rng([seed, cell.seeds, cell.rows])
    judged = judge(simulate(cell, tables, generator))
    is_shifted = np.arange(cell.rows) < cell.shifted
    truth = np.where(is_shifted, cell.shift, 0.0)
    declared = judged.p_holm < 0.05
    found = (declared & (judged.difference > 0))[:, is_shifted]
    covered = np.abs(judged.difference - truth) <= judged.half_width
    return Rates(
        tables=tables,
        false_tables=float(declared[:, ~is_shifted].any(axis=1).mean()),
        coverage=float(covered.mean()),
        power=float(found.mean()) if found.size else float("nan"),
    )


def measure_looks(looks: Sequence[int], *, rows: int, tables: int, seed: int) -> float:
    """Tables with a false declaration at any of several looks, each with more seeds."""
    cell = Cell(seeds=max(looks), rows=rows)
    errors = simulate(cell, tables, np.random.default_rng([seed, rows, len(looks)]))
    wrong = np.zeros(tables, bool)
    for n in looks:
        wrong |= (judge(errors[:, :n]).p_holm < 0.05).any(axis=1)
    return float(wrong.mean())


def list_cells() -> Iterator[Cell]:
    """All kinds of tables of the page, without a shift."""
    spreads: tuple[Spreads, ...] = ("equal", "baseline", "row")
    noises: tuple[Noise, ...] = ("normal", "skewed")
    for spread, noise, rows in itertools.product(spreads, noises, (4, 10)):
        for seeds in (3, 5, 10):
            yield Cell(seeds=seeds, rows=rows, noise=noise, spreads=spread)


def render(tables: int, seed: int) -> Iterator[str]:
    """The figures as Markdown, a line at a time."""
    versions = f"NumPy {np.__version__}, SciPy {scipy.__version__}"
    yield f"{tables:,} tables a cell, seed {seed}; Python {platform.python_version()}, {versions}."
    yield "\n| spreads | noise | k | n | tables with a false declaration | coverage |"
    yield "|---|---|---|---|---|---|"
    for cell in list_cells():
        rates = measure(cell, tables=tables, seed=seed)
        kind = f"{SPREADS[cell.spreads]} | {cell.noise} | {cell.rows} | {cell.seeds}"
        yield f"| {kind} | {rates.false_tables:.1%} | {rates.coverage:.1%} |"
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
    yield "\n| k | looks with n | tables with a false declaration at any look |"
    yield "|---|---|---|"
    for rows, looks in itertools.product((4, 10), ((3,), (3, 5), (3, 10), tuple(range(3, 21)))):
        rate = measure_looks(looks, rows=rows, tables=tables, seed=seed)
        label = ", ".join(map(str, looks)) if len(looks) < 5 else f"{looks[0]}, 4, … {looks[-1]}"
        yield f"| {rows} | {label} | {rate:.1%} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tables", type=int, default=20_000, help="tables a cell")
    parser.add_argument("--seed", type=int, default=0, help="source of all randomness")
    arguments = parser.parse_args()
    sys.stdout.writelines(f"{line}\n" for line in render(arguments.tables, arguments.seed))
