"""What every command prints with: results on stdout, progress and messages on stderr."""

import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ablations.escapes import escape_controls

# Where the width is unknown (a file, a pipe), tables are not squeezed into 80 columns.
WIDE = 180
WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE
stdout = Console(highlight=False, markup=False, emoji=False, width=WIDTH)
stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)


def make_table(*headings: str) -> Table:
    """An empty table whose headings are never squeezed."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in headings:
        width = max(map(len, heading.split("\n")))
        table.add_column(Text(heading), overflow="fold", min_width=width)
    return table


def add_row(table: Table, *cells: str) -> None:
    """Adds a row of plain text: names and reasons come from users and may hold anything."""
    table.add_row(*(Text(escape_controls(cell, keep="\n")) for cell in cells))


def print_table(table: Table) -> None:
    """Prints a table; a terminal that is too narrow wraps its lines rather than lose columns."""
    lines = Segment.split_lines(stdout.render(table))
    if max(map(Segment.get_line_length, lines), default=0) <= stdout.width:
        stdout.print(table)
    else:  # rich would cut the lines off
        Console(file=stdout.file, width=WIDE).print(table)


def print_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table of plain text that may have thousands of rows.

    Rich lays out cell by cell, which takes seconds then. It is used only if something has to be
    folded or escaped.
    """
    widths = [max(map(cell_len, column)) for column in zip(headings, *rows, strict=True)]
    line_width = sum(widths) + 2 * len(widths)
    if line_width <= stdout.width and all(cell.isprintable() for row in rows for cell in row):
        stdout.out(f" {_align(headings, widths)}", style="bold")
        stdout.out(f" {'─' * (line_width - 2)}")
        stdout.out("\n".join(f" {_align(row, widths)}" for row in rows), end="\n\n")
        return
    table = make_table(*headings)
    for row in rows:
        add_row(table, *row)
    print_table(table)


def _align(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (c + " " * (width - cell_len(c)) for c, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()


def print_heading(name: str, text: str) -> None:
    """A line that opens a section: a name in bold, then text."""
    line = Text.assemble("\n", (escape_controls(name), "bold"), f"{escape_controls(text)}\n")
    stdout.print(line, soft_wrap=True)


def print_line(text: str) -> None:
    """One line of results, not wrapped."""
    stdout.print(escape_controls(text, keep="\n"), soft_wrap=True)


def print_message(text: str) -> None:
    """Prints a message on stderr, not wrapped."""
    stderr.print(escape_controls(text, keep="\n\t"), soft_wrap=True)


def replace_unprintable() -> None:
    """Makes the terminal show `?` for characters that its encoding lacks, such as ± in ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def print_json(content: Any) -> None:
    """Plain values for a program to read."""
    stdout.print_json(json.dumps(content))
