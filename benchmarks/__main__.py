"""Runs suites and writes their results: `python -m benchmarks convolution network …`."""

import argparse
from importlib import import_module
from pathlib import Path

from benchmarks.results import FOLDER, format_result, write_suite

SUITES = ("convolution", "network", "trial", "loading", "ledger", "runner", "scale")
"""Modules of this package with a function `measure`, which returns measurements."""


def main() -> None:
    """Parses the command line, then runs one suite after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", default=SUITES, help="default: all of them")
    parser.add_argument("--out", type=Path, default=FOLDER, help="default: results/benchmarks")
    options = parser.parse_args()
    if unknown := set(options.suites) - set(SUITES):
        parser.error(f"suite must be one of {', '.join(SUITES)}, got {', '.join(sorted(unknown))}")
    for suite in options.suites:
        measurements = import_module(f"benchmarks.{suite}").measure()
        for row in measurements:
            against = f" against {row.peer}" if row.peer else ""
            print(f"{row.name}{against}: {format_result(row)}")  # noqa: T201
        write_suite(suite, measurements, folder=options.out)


if __name__ == "__main__":
    main()
