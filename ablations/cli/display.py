"""What every command prints with: results on stdout, progress and messages on stderr."""

import json
import os
import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Where the width is unknown (a file, a pipe), tables are not squeezed into 80 columns.
WIDE = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 180
stdout = Console(highlight=False, markup=False, emoji=False, width=WIDE)
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
    table.add_row(*map(Text, cells))


def print_heading(name: str, text: str) -> None:
    """A line that opens a section: a name in bold, then text."""
    stdout.print(Text.assemble("\n", (name, "bold"), f"{text}\n"), soft_wrap=True)


def print_line(text: str) -> None:
    """One line of results, not wrapped."""
    stdout.print(text, soft_wrap=True)


def print_json(content: Any) -> None:
    """Plain values for a program to read."""
    stdout.print_json(json.dumps(content))
