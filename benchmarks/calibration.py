"""Error rates of the procedure of docs/statistics.md, measured on simulated tables.

    python benchmarks/calibration.py                # the figures of docs/statistics.md
    python benchmarks/calibration.py --tables 2000  # the same, faster and less precise
    python benchmarks/calibration.py --part looks   # only those of planned looks
                                                    # (also: "one look", "agreement")

Thousands of tables are judged at once, on arrays instead of the data frames of
`ablations.statistics`; a test checks that both give the same results. Where rows stop at different
looks, the program's own functions take the looks, one table at a time.
"""

import argparse
import itertools
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray
from scipy import special

from ablations.statistics import (
    CORRECTION,
    SIGNIFICANCE,
    Question,
    Sample,
    find_level,
    follow_looks,
)
from ablations.statistics.agreement import compute_tau, find_interval, resample

Floats = NDArray[np.float64]
Noise = Literal["normal", "skewed"]
Part = Literal["all", "one look", "looks", "agreement"]

OBSERVED = (0.19, 0.28, 0.49, 0.42, 0.08, 0.13, 0.28, 0.94, 0.36, 0.40, 1.11)
"""Standard deviations of the rows of `imagenet` on `quick`, as an earlier version of the procedure
trained them, the baseline first."""

SPREADS: dict[str, tuple[float, ...]] = {
    "equal": (),
    "baseline twice the others'": (2,),
    "one row twice the others'": (1, 2),
    "baseline four times the others'": (4,),
    "one row eight times the others'": (1, 8),
    "observed": OBSERVED,
}
"""Standard deviations of the first columns (0 is the baseline); those of all others are 1."""

MARGIN = 2.0
"""Margin of the tables of equivalent rows, in standard deviations of an error."""

LOOKS = (3, 5, 8, 12, 20)
"""Planned looks, those of the recipe `quick`."""

LOOKS_MARGIN = 1.25
"""Margin of the tables with planned looks, in standard deviations of an error."""

LOOKS_TABLES = 2000
"""Most tables per cell of those that the program's own functions judge."""


PRINTED = {
    "equal to the true ones": (1.0, 0.0),
    "true ones plus noise": (1.0, 1.0),
    "unrelated": (0.0, 1.0),
}
"""How printed errors are made of the true errors and of noise that is as large, by name."""

AGREEMENT_ROWS = 10
"""Number of rows of the tables whose rankings are compared with printed ones."""

AGREEMENT_TABLES = 2000
"""Most tables per cell of those whose seeds are resampled."""

AGREEMENT_SAMPLES = 1000
"""Bootstrap samples of the seeds of each table; the program takes more."""


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
    """Key of `SPREADS`."""

    shift: float = 0.0
    """Difference of the shifted rows from the baseline, in standard deviations of an error."""

    shifted: int = 0
    """Number of shifted rows; they come first."""

    seed_effect: float = 1.0
    """Standard deviation of the error that all columns of a seed share."""

    @property
    def is_shifted(self) -> NDArray[np.bool_]:
        """Which rows are shifted."""
        return np.arange(self.rows) < self.shifted


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


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Conclusions of planned looks on many tables, each tables x rows without the baseline."""

    words: NDArray[np.str_]
    """Verdicts."""

    seeds: NDArray[np.int64]
    """Number of seeds at which the row stopped."""

    differences: Floats
    """Difference from the baseline at that number of seeds."""


@dataclass(frozen=True, kw_only=True)
class StoppedRates:
    """Rates of planned looks on one kind of table, as fractions; NaN where there are no cases."""

    tables: int
    """Number of tables."""

    false_tables: float
    """Tables that call at least one row better or worse that does not differ."""

    power: float
    """Shifted rows that are called worse."""

    equivalent: float
    """Rows that do not differ and are called equivalent."""

    seeds: float
    """Mean number of seeds of shifted rows."""

    seeds_equal: float
    """Mean number of seeds of rows that do not differ."""

    shown: float
    """Mean difference of the shifted rows that are called worse, when they are."""

    shown_first: float
    """The same of those that are called worse at the first look."""


def simulate(cell: Cell, tables: int, generator: np.random.Generator) -> Floats:
    """Draws errors, tables x seeds x columns; column 0 is the baseline, seeds shift all columns."""
    shape = (tables, cell.seeds, cell.rows + 1)
    if cell.noise == "normal":
        noise = generator.standard_normal(shape)
    else:
        noise = generator.exponential(size=shape) - 1
    spreads = SPREADS[cell.spreads]
    noise[:, :, : len(spreads)] *= spreads
    noise[:, :, 1 : cell.shifted + 1] += cell.shift
    return noise + cell.seed_effect * generator.standard_normal((tables, cell.seeds, 1))


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


def measure(cell: Cell, *, tables: int, seed: int) -> Rates:
    """Measures the rates on `tables` simulated tables."""
    generator = np.random.default_rng([seed, cell.seeds, cell.rows])
    judged = judge(simulate(cell, tables, generator))
    is_shifted = cell.is_shifted
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


def measure_looks(
    looks: Sequence[int], cell: Cell, *, tables: int, seed: int, level: float = SIGNIFICANCE
) -> float:
    """Measures the tables with a false verdict at any of several looks, each with more seeds.

    No row stops before the first false verdict, so that these are complete tables.
    """
    errors = simulate(cell, tables, np.random.default_rng([seed, cell.rows, len(looks)]))
    return float(find_declared(errors, looks, level=level).mean())


def find_declared(errors: Floats, looks: Sequence[int], *, level: float) -> NDArray[np.bool_]:
    """Finds the tables that call any row better or worse at any look."""
    declared = [(judge(errors[:, :n]).p_corrected < level).any(axis=1) for n in looks]
    return np.any(declared, axis=0)


def follow(errors: Floats, looks: tuple[int, ...], *, margin: float) -> Stopped:
    """Takes planned looks at complete tables with the functions of the program."""
    _, n, columns = errors.shape
    names = tuple(str(column) for column in range(columns))
    question = Question(looks=looks, baseline=names[0], variants=names, margin=margin)
    nothing = pd.DataFrame(data=False, index=range(n), columns=names)
    words, seeds, differences = [], [], []
    for table in errors:
        known = pd.DataFrame(table, columns=names)
        path = follow_looks(question, Sample(errors=known, broken=nothing, pending=nothing))
        words.append([path.verdicts[name].word for name in names[1:]])
        seeds.append([path.shown_seeds[name] for name in names[1:]])
        differences.append([path.differences[name].mean for name in names[1:]])
    return Stopped(words=np.array(words), seeds=np.array(seeds), differences=np.array(differences))


def rate(cell: Cell, stopped: Stopped) -> StoppedRates:
    """Computes the rates of tables of one kind."""
    is_shifted = cell.is_shifted
    is_declared = np.isin(stopped.words, ("better", "worse"))
    found = (stopped.words == "worse") & is_shifted
    is_first = stopped.seeds == stopped.seeds.min()
    return StoppedRates(
        tables=len(stopped.words),
        false_tables=float((is_declared & ~is_shifted).any(axis=1).mean()),
        power=_average(found[:, is_shifted]),
        equivalent=_average((stopped.words == "equivalent")[:, ~is_shifted]),
        seeds=_average(stopped.seeds[:, is_shifted]),
        seeds_equal=_average(stopped.seeds[:, ~is_shifted]),
        shown=_average(stopped.differences[found]),
        shown_first=_average(stopped.differences[found & is_first]),
    )


def _average(values: NDArray[np.generic]) -> float:
    return float(values.mean()) if values.size else float("nan")


def measure_planned(cell: Cell, *, tables: int, seed: int) -> StoppedRates:
    """Measures the rates of planned looks on `tables` simulated tables."""
    generator = np.random.default_rng([seed, cell.rows, cell.shifted])
    return rate(cell, follow(simulate(cell, tables, generator), LOOKS, margin=LOOKS_MARGIN))


def measure_intervals(
    printed: tuple[float, float], *, seeds: int, tables: int, seed: int
) -> tuple[float, float]:
    """Resamples the seeds of tables whose true errors vary as much as errors over seeds (rule 22).

    Args:
        printed: Entry of `PRINTED`.
        seeds: n.
        tables: Number of tables.
        seed: Random seed.

    Returns:
        The share of the intervals that contain the tau-b between printed and true errors, and the
        median of their upper ends.
    """
    generator = np.random.default_rng([seed, seeds])
    covered, upper_ends = 0, []
    for _ in range(tables):
        true, noise = generator.standard_normal((2, AGREEMENT_ROWS))
        ranks = printed[0] * true + printed[1] * noise
        errors = true + generator.standard_normal((seeds, AGREEMENT_ROWS))
        interval = find_interval(resample(errors, generator, samples=AGREEMENT_SAMPLES), ranks)
        assert interval is not None  # several seeds, and no two rows are equal
        low, high = interval
        covered += low - 1e-9 <= compute_tau(ranks, true) <= high + 1e-9
        upper_ends.append(high)
    return covered / tables, float(np.median(upper_ends))


def list_cells() -> Iterator[Cell]:
    """All kinds of tables in which no row differs."""
    noises: tuple[Noise, ...] = ("normal", "skewed")
    for spread, noise, rows in itertools.product(SPREADS, noises, (4, 10)):
        if len(SPREADS[spread]) > rows + 1:
            continue
        for seeds in (3, 5, 10):
            yield Cell(seeds=seeds, rows=rows, noise=noise, spreads=spread)


def render(tables: int, seed: int, *, part: Part = "all") -> Iterator[str]:
    """Yields the figures as lines of Markdown."""
    python = f"Python {platform.python_version()}"
    versions = f"{python}, NumPy {np.__version__}, SciPy {scipy.__version__}"
    yield f"{tables:,} tables per cell, seed {seed}; {versions}."
    if part in ("all", "one look"):
        yield from render_one_look(tables, seed)
    if part in ("all", "looks"):
        yield from render_planned_looks(tables, seed)
    if part in ("all", "agreement"):
        yield from render_agreement(tables, seed)


def render_one_look(tables: int, seed: int) -> Iterator[str]:
    """Yields the figures of tables with one look, or with looks that were not planned."""
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
        cell = Cell(seeds=looks[-1], rows=rows)
        wrong = measure_looks(looks, cell, tables=tables, seed=seed)
        label = ", ".join(map(str, looks)) if len(looks) < 5 else f"{looks[0]}, 4, … {looks[-1]}"
        yield f"| {rows} | {label} | {wrong:.1%} |"


def list_planned_cells() -> Iterator[Cell]:
    """Kinds of tables with planned looks in which no row differs."""
    noises: tuple[Noise, ...] = ("normal", "skewed")
    for spread, noise, rows in itertools.product(SPREADS, noises, (4, 10)):
        if len(SPREADS[spread]) <= rows + 1:
            yield Cell(seeds=LOOKS[-1], rows=rows, noise=noise, spreads=spread)


def list_shifted_cells() -> Iterator[Cell]:
    """Kinds of tables with planned looks in which one of four rows differs, or all of them."""
    for shifted, shift in itertools.product((4, 1), (1.0, 2.0, 3.0)):
        yield Cell(seeds=LOOKS[-1], rows=4, shift=shift, shifted=shifted)


def render_planned_looks(tables: int, seed: int) -> Iterator[str]:
    """Yields the figures of planned looks."""
    level = find_level(LOOKS)
    yield (
        f"\nPlanned looks at {', '.join(map(str, LOOKS))} seeds, no row differs; each look tests "
        f"at {level:.2%}, or at {SIGNIFICANCE:.0%} for contrast:"
    )
    yield f"\n| spreads | noise | k | false verdict at any look | each look at {SIGNIFICANCE:.0%} |"
    yield "|---|---|---|---|---|"
    for cell in list_planned_cells():
        planned, contrast = (
            measure_looks(LOOKS, cell, tables=tables, seed=seed, level=tested)
            for tested in (level, SIGNIFICANCE)
        )
        kind = f"{cell.spreads} | {cell.noise} | {cell.rows}"
        yield f"| {kind} | {planned:.1%} | {contrast:.1%} |"
    count = min(tables, LOOKS_TABLES)
    yield (
        f"\nThe same looks with a margin of {LOOKS_MARGIN} standard deviations, k = 4, normal "
        f"noise, equal spreads; {count:,} tables per cell. Differences are in standard deviations:"
    )
    yield (
        "\n| rows that differ | difference | power | seeds | mean difference if declared "
        "| if declared at the first look |"
    )
    yield "|---|---|---|---|---|---|"
    for cell in list_shifted_cells():
        found = measure_planned(cell, tables=count, seed=seed)
        rates = f"{found.power:.1%} | {found.seeds:.1f}"
        shown = f"{found.shown:.2f} | {found.shown_first:.2f}"
        yield f"| {cell.shifted} | {cell.shift:.0f} | {rates} | {shown} |"
    yield "\nThe same, no row differs:"
    yield "\n| k | tables with a false verdict | rows called equivalent | seeds |"
    yield "|---|---|---|---|"
    for rows in (4, 10):
        found = measure_planned(Cell(seeds=LOOKS[-1], rows=rows), tables=count, seed=seed)
        rates = f"{found.false_tables:.1%} | {found.equivalent:.1%} | {found.seeds_equal:.1f}"
        yield f"| {rows} | {rates} |"


def render_agreement(tables: int, seed: int) -> Iterator[str]:
    """Yields how often resampled seeds contain the true tau-b."""
    count = min(tables, AGREEMENT_TABLES)
    yield (
        f"\nResampled seeds of {AGREEMENT_ROWS} rows whose true errors vary as much as the error "
        f"of a row over seeds; {count:,} tables per cell, {AGREEMENT_SAMPLES:,} samples each:"
    )
    yield "\n| printed errors | n | intervals that contain the true tau-b | median upper end |"
    yield "|---|---|---|---|"
    for (name, printed), n in itertools.product(PRINTED.items(), (3, 5, 10, 20)):
        covered, upper = measure_intervals(printed, seeds=n, tables=count, seed=seed)
        yield f"| {name} | {n} | {covered:.1%} | {upper:.2f} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tables", type=int, default=20_000, help="tables per cell")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--part", choices=get_args(Part), default="all", help="tables to print")
    arguments = parser.parse_args()
    lines = render(arguments.tables, arguments.seed, part=arguments.part)
    sys.stdout.writelines(f"{line}\n" for line in lines)
