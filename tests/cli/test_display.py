"""Long tables are padded without rich, which lays out only what has to be folded or escaped."""

import io

import pytest
from rich.console import Console

from ablations.cli import display

ROWS = [("a", "finished"), ("幅", "failed: no"), ("", "to run")]


def show(rows: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, *, width: int) -> list[str]:
    """The lines of a table with text, in a terminal of this width."""
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    monkeypatch.setattr(display, "stdout", console)
    display.print_rows(("name", "state"), rows)
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]


def test_both_layouts_show_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line break, which only rich can show, does not move the other rows."""
    padded = show(ROWS, monkeypatch, width=40)
    folded = show([*ROWS, ("b", "c\nd")], monkeypatch, width=40)

    assert padded == folded[: len(padded)]
    assert len(padded) == 2 + len(ROWS)


def test_cells_are_folded_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is longer than the terminal is wide."""
    lines = show([("a" * 30, "finished")], monkeypatch, width=20)

    assert max(map(len, lines)) <= 20
    assert len(lines) > 3
