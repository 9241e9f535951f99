"""`ablations verify`: the papers' printed complexities compared with our counts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.cli.display import (
    add_row,
    make_table,
    print_heading,
    print_json,
    print_line,
    print_table,
)
from ablations.cli.options import AsJson, RunsDir
from ablations.errors import IncompleteError, InputError

if TYPE_CHECKING:  # loaded when a command runs: help and completion do without them
    from ablations.complexity import Check
    from ablations.config import PaperTable


def verify(
    table: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Only tables whose key contains TEXT.")
    ] = None,
    as_json: AsJson = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Compare every complexity that the papers print with our count of the network."""
    # Late: help and completion do without them.
    from ablations.complexity import check_tables, count_complexities, list_networks
    from ablations.config import read_paper
    from ablations.workspace import Workspace

    known = read_paper()
    tables = {k: t for k, t in known.items() if not table or any(text in k for text in table)}
    if not tables:
        raise InputError(f"--table must be part of one of {', '.join(known)}, got {table}.")
    cache_file = Workspace(runs_dir=runs_dir).complexity_file
    counted = count_complexities(list_networks(tables), cache_file=cache_file)
    checks = list(check_tables(tables, counted))
    totals = Counter(check.verdict for check in checks)
    if as_json:
        print_json({"totals": totals, "checks": [asdict(check) for check in checks]})
    else:
        _print_checks(tables, checks)
        parts = ", ".join(f"{number} {verdict}" for verdict, number in totals.items())
        print_line(f"{len(checks)} cells: {parts}.")
    if totals["DIFFERS"]:
        raise IncompleteError(
            f"{totals['DIFFERS']} cell(s) differ from the papers for no known reason."
        )


def _print_checks(tables: "Mapping[str, PaperTable]", checks: "Sequence[Check]") -> None:
    """Printed cells beside ours, table by table."""
    for key, table in tables.items():
        print_heading(key, f": {table.source} ({table.provenance})")
        shown = make_table("row", "cell", "printed", "ours", "difference", "verdict", "reason")
        for check in checks:
            if check.table == key:
                cells = (check.printed, check.ours or "–", check.difference or "")
                add_row(shown, check.row, check.column, *cells, check.verdict, check.reason)
        print_table(shown)
