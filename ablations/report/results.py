"""The results as a whole: the index, the README beside them, and what does not belong there."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from ablations.errors import InputError
from ablations.files import write_changed
from ablations.report.blocks import fill_blocks, list_blocks, render_block
from ablations.report.files import check_report
from ablations.report.index import render_index
from ablations.study import Study, is_exported
from ablations.tables import Table

BENCHMARKS = "benchmarks"
"""Folder of what `python -m benchmarks` writes, beside the experiments."""

INDEX = "README.md"
"""Name of the index in the folder of results, and of the page beside it that shows tables."""


def write_index(entries: Sequence[tuple[Study, Table]], results_dir: Path) -> list[Path]:
    """Writes the index of all results; returns it if it changed.

    Raises:
        InputError: If another page has its name.
        MachineError: If it cannot be written.
    """
    content = render_index(entries).encode()
    index = results_dir / INDEX
    if index.is_file() and index.read_bytes().splitlines()[:1] != content.splitlines()[:1]:
        raise InputError(f"{index} must be the index of results, got another page; move it away.")
    return [results_dir / name for name in write_changed({INDEX: content}, results_dir)]


def check_index(entries: Sequence[tuple[Study, Table]], results_dir: Path) -> Iterator[str]:
    """Yields what is wrong with the index of all results."""
    index = results_dir / INDEX
    if not index.is_file():
        if entries or index.exists():
            yield f"{index}: missing; `ablations report --all` writes it"
    elif index.read_bytes() != render_index(entries).encode():
        yield f"{index}: edited or out of date; `ablations report --all` regenerates it"


def write_blocks(results_dir: Path) -> list[Path]:
    """Updates the tables in the README beside the results; returns it if it changed.

    Raises:
        InputError: If it is not UTF-8 text.
        MachineError: If it cannot be written.
    """
    page = results_dir.parent / INDEX
    if not page.is_file():
        return []
    try:
        text = fill_blocks(page.read_text(encoding="utf-8"), lambda path: _find_body(page, path))
    except UnicodeDecodeError as error:
        raise InputError(f"{page} must be UTF-8 text, got {error}.") from error
    return [page.parent / name for name in write_changed({page.name: text.encode()}, page.parent)]


def check_blocks(results_dir: Path) -> Iterator[str]:
    """Yields the tables in the README beside the results that differ from the results."""
    page = results_dir.parent / INDEX
    if not page.is_file():
        return
    try:
        blocks = list_blocks(page.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        yield f"{page}: must be UTF-8 text"
        return
    for path, body in blocks.items():
        expected = _find_body(page, path)
        if expected is None:
            yield f"{page}: shows {path}, which is missing"
        elif body != expected:
            yield f"{page}: its table differs from {path}; run `ablations report --all`"


def list_foreign(results_dir: Path, known: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yields files and folders among the results that belong to nothing or hold no records.

    Args:
        results_dir: The folder of results.
        known: Names of the recipes, by experiment.
    """
    if not results_dir.is_dir():
        return
    for path in sorted(results_dir.iterdir()):
        if path.name in known and path.is_dir():
            for own in sorted(path.iterdir()):
                if own.name not in known[path.name] or not own.is_dir():
                    yield f"{own}: belongs to no recipe; remove it"
                elif not is_exported(own):
                    yield from check_report(own)
        elif path.name not in (INDEX, BENCHMARKS):
            yield f"{path}: belongs to no experiment; remove it"


def _find_body(page: Path, path: str) -> str | None:
    """The block for the table at `path`, relative to the page; None if there is no such file."""
    file = page.parent / path
    if not (file.is_file() and file.resolve().is_relative_to(page.parent.resolve())):
        return None  # a block shows no other file of the machine
    return render_block(file.read_text(encoding="utf-8", errors="replace"))
