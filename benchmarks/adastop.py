"""Error rates of AdaStop and of our planned looks, side by side on the same simulated tables.

    pip install -e '.[adastop]'
    python -m benchmarks.adastop

AdaStop (Mathieu et al., AdaStop: adaptive statistical testing for sound comparisons of Deep RL
agents, arXiv:2306.10882) trains agents in groups of n seeds, at most K groups, and stops a
comparison once a permutation test rejects it. It takes runs as independent, so seeds shift no
errors in these tables; our verdicts depend only on differences within a seed and are the same with
such shifts.
"""

import argparse
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.calibration import (
    LOOKS,
    LOOKS_MARGIN,
    Cell,
    Floats,
    Stopped,
    StoppedRates,
    follow,
    rate,
    simulate,
)

GROUP, GROUPS = 5, 4
"""Seeds in a group, and the most groups: as many seeds as our last look."""

LEVELS = (0.05, 0.025)
"""Nominal levels of AdaStop: the one to compare with, and half of it."""

WORDS = {"larger": "better", "smaller": "worse", "equal": "undecided", "continue": "undecided"}
"""AdaStop's decision on baseline minus row, as a verdict on the row."""


def load_comparator() -> Any:
    """Imports AdaStop's comparator, which the project does not depend on."""
    try:
        from adastop import MultipleAgentsComparator  # late: it is optional
    except ImportError:
        sys.exit("adastop is not installed. Run: pip install -e '.[adastop]'")
    return MultipleAgentsComparator


def run_adastop(errors: Floats, *, level: float, seed: int) -> Stopped:
    """Compares each row of complete tables with the baseline; other options keep their defaults."""
    comparator_type = load_comparator()
    comparisons = np.array([(0, row) for row in range(1, errors.shape[2])])
    words, seeds, differences = [], [], []
    for index, table in enumerate(errors):
        comparator = comparator_type(
            n=GROUP, K=GROUPS, alpha=level, comparisons=comparisons, seed=seed + index
        )
        stopped: dict[str, int] = {}
        for n in range(GROUP, GROUP * GROUPS + 1, GROUP):
            known = {str(column): table[:n, column] for column in range(table.shape[1])}
            comparator.partial_compare(known, verbose=False)
            decided = [name for name, word in comparator.decisions.items() if word != "continue"]
            stopped = dict.fromkeys(decided, n) | stopped
            if comparator.is_finished:
                break
        names = [str(comparison) for comparison in comparisons]
        words.append([WORDS[comparator.decisions[name]] for name in names])
        seeds.append([stopped[name] for name in names])
        differences.append(
            [(table[:n, row] - table[:n, 0]).mean() for row, n in enumerate(seeds[-1], start=1)]
        )
    return Stopped(words=np.array(words), seeds=np.array(seeds), differences=np.array(differences))


def list_cells() -> Iterator[Cell]:
    """Four rows; none differs, with three kinds of spread or noise, or all of them do."""
    common = {"seeds": LOOKS[-1], "rows": 4, "seed_effect": 0.0}
    yield Cell(**common)
    yield Cell(**common, noise="skewed")
    yield Cell(**common, spreads="baseline twice the others'")
    for shift in (1.0, 2.0, 3.0):
        yield Cell(**common, shift=shift, shifted=4)


def describe(cell: Cell) -> str:
    """What distinguishes a kind of table."""
    if cell.shifted:
        return f"all rows differ by {cell.shift:.0f}"
    return f"no row differs, {cell.noise} noise, spreads: {cell.spreads}"


def render_rates(cell: Cell, rates: StoppedRates) -> str:
    """One procedure's rates as cells of a Markdown table."""
    if cell.shifted:
        return f"– | {rates.power:.1%} | – | {rates.seeds:.1f}"
    return f"{rates.false_tables:.1%} | – | {rates.equivalent:.1%} | {rates.seeds_equal:.1f}"


def render(tables: int, seed: int) -> Iterator[str]:
    """Yields the figures as lines of Markdown."""
    peer = f"AdaStop {version('adastop')}"
    yield f"{tables:,} tables per cell, seed {seed}, k = 4."
    yield "\n| tables | procedure | false verdict | power | equivalent | seeds |"
    yield "|---|---|---|---|---|---|"
    for cell in list_cells():
        generator = np.random.default_rng([seed, cell.rows, cell.shifted])
        errors = simulate(cell, tables, generator)
        stopped = {"planned looks": follow(errors, LOOKS, margin=LOOKS_MARGIN)}
        for level in LEVELS:
            name = f"{peer}, α = {level}"
            stopped[name] = run_adastop(errors, level=level, seed=seed)
        for name, result in stopped.items():
            yield f"| {describe(cell)} | {name} | {render_rates(cell, rate(cell, result))} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tables", type=int, default=200, help="tables per cell")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    arguments = parser.parse_args()
    load_comparator()
    for line in render(arguments.tables, arguments.seed):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
