"""Results that somebody altered are findings of the check, whatever they hold; it never raises."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, seal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablations.report import check_blocks, check_report

SOURCE = min((ROOT / "results").glob("*/*/provenance.json"), key=lambda p: p.stat().st_size).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of committed results."""
    return Path(shutil.copytree(SOURCE, tmp_path / "results" / "e" / "quick"))


def mend(folder: Path) -> None:
    """Gives provenance.json the checksums of the files beside it, as anyone could."""
    path = folder / "provenance.json"
    content = json.loads(path.read_text())
    for name in content["sha256"]:
        content["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(content, indent=1, sort_keys=True))


def set_value(*keys: Any) -> Callable[[Path], None]:
    """Sets a value of provenance.json: its keys, followed by the new value."""
    *path, last, value = keys

    def change(folder: Path) -> None:
        file = folder / "provenance.json"
        inner = content = json.loads(file.read_text())
        for key in path:
            inner = inner[key]
        inner[last] = value
        file.write_text(json.dumps(content))

    return change


def write(name: str, content: bytes, *, mended: bool = False) -> Callable[[Path], None]:
    """Replaces a file."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)
        if mended:
            mend(folder)

    return change


def replace_cell(name: str, column: int, value: str) -> Callable[[Path], None]:
    """Replaces a cell of the first row of a CSV file, and mends the checksums."""

    def change(folder: Path) -> None:
        head, first, rest = (folder / name).read_text().split("\n", 2)
        cells = first.split(",")
        cells[column] = value
        (folder / name).write_text("\n".join([head, ",".join(cells), rest]))
        mend(folder)

    return change


def draw(text: str, *, old: str = "</defs>") -> Callable[[Path], None]:
    """Puts text into a drawing, and seals it anew."""

    def change(folder: Path) -> None:
        path = next(folder.glob("*.svg"))
        path.write_text(seal(path.read_text().replace(old, text + old, 1)))

    return change


def make_special(name: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Puts something else in the place of a file."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return change


DEEP = "<g>" * 100_000 + "</g>" * 100_000
ENTITIES = '<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'

ALTERED: dict[str, Callable[[Path], None]] = {
    "nan": set_value("definition", "margin", float("nan")),
    "infinity": set_value("definition", "margin", float("inf")),
    "huge": set_value("definition", "margin", 1e300),
    "no scales": set_value("scales", {}),
    "other scales": set_value("scales", "x", None),
    "no rows": set_value("definition", "rows", []),
    "baseline": set_value("definition", "baseline", "x"),
    "surrogate": set_value("definition", "question", "\ud800"),
    "seeds": set_value("definition", "seeds", [-1, 10**30]),
    "looks": set_value("looks", [[10**40]]),
    "facts": set_value("facts", {}),
    "procedure": set_value("facts", "procedure", "x"),
    "format": set_value("format", None),
    "dataset": set_value("definition", "dataset", "test_size", -1),
    "deep json": write("provenance.json", b"[" * 200_000),
    "no json": write("provenance.json", b"\xff\xfe"),
    "a list": write("provenance.json", b"[]"),
    "no csv": write("trials.csv", b'"', mended=True),
    "no rows of csv": write("trials.csv", b"", mended=True),
    "wide csv": write("curves.csv", b"a\n" + b"x" * 200_000, mended=True),
    "nul csv": write("curves.csv", b"trial,epoch\n\0,1\n", mended=True),
    "no zip": write("outcomes.npz", b"PK\x03\x04", mended=True),
    "pickle": write("outcomes.npz", b"\x80\x04N.", mended=True),
    "number of images": replace_cell("trials.csv", 11, "-5"),
    "more images": replace_cell("trials.csv", 11, str(10**30)),
    "no number": replace_cell("trials.csv", 10, "x"),
    "variant": replace_cell("trials.csv", 1, "x"),
    "seed": replace_cell("trials.csv", 2, "0x1"),
    "epoch": replace_cell("curves.csv", 1, "-1"),
    "script": draw("<script>alert(1)</script>"),
    "deep svg": draw(DEEP),
    "entities": draw(ENTITIES, old="<svg"),
    "no xml": draw("<g>"),
    "no text": write("errors.svg", b"\xff\xfe\0"),
    "svg folder": make_special("errors.svg", Path.mkdir),
    "svg link": make_special("errors.svg", lambda path: path.symlink_to("absent")),
    "foreign folder": make_special("x.svg", Path.mkdir),
    "svg pipe": make_special("errors.svg", os.mkfifo),
    "csv pipe": make_special("trials.csv", os.mkfifo),
    "csv device": make_special("trials.csv", lambda path: path.symlink_to("/dev/zero")),
    "table": write("table.md", b"\xff"),
    "table folder": make_special("table.md", Path.mkdir),
}
"""What may happen to results, by name."""


@pytest.mark.parametrize("name", ALTERED)
def test_an_alteration_is_a_finding(folder: Path, name: str) -> None:
    """The check says which folder is wrong: no stack trace, and no hang."""
    ALTERED[name](folder)

    findings = check_report(folder)

    assert findings
    assert all(str(folder) in finding for finding in findings)


@given(
    name=st.sampled_from(["provenance.json", "trials.csv", "curves.csv", "outcomes.npz"]),
    place=st.floats(0, 1, exclude_max=True),
    content=st.binary(max_size=3) | st.sampled_from([b"NaN", b"1e999", b"null", b'"', b"-1"]),
    mended=st.booleans(),
)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_flipped_bytes_never_raise(
    folder: Path, name: str, place: float, content: bytes, mended: bool
) -> None:
    """Anywhere in any of the four files, with checksums that fit or not."""
    before = (SOURCE / name).read_bytes()
    position = int(place * len(before))
    for file in SOURCE.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / name).write_bytes(before[:position] + content + before[position + len(content) :])
    if mended and name != "provenance.json":
        mend(folder)

    findings = check_report(folder)

    assert findings or (folder / name).read_bytes() == before


def test_a_block_shows_no_file_outside_of_the_project(tmp_path: Path) -> None:
    """A README may come from elsewhere, and the tables that it names are copied into it."""
    (tmp_path / "secret.md").write_text("# a\n\nsecret\n")
    project = tmp_path / "project"
    (project / "results").mkdir(parents=True)
    block = "<!-- table: ../secret.md -->\n<!-- end of table -->"
    (project / "README.md").write_text(block)

    assert list(check_blocks(project / "results")) == [
        f"{project / 'README.md'}: shows ../secret.md, which is missing"
    ]


def test_a_readme_that_is_no_text_is_a_finding(tmp_path: Path) -> None:
    """It was a stack trace."""
    (tmp_path / "results").mkdir()
    (tmp_path / "README.md").write_bytes(b"\xff")

    assert list(check_blocks(tmp_path / "results")) == [
        f"{tmp_path / 'README.md'}: must be UTF-8 text"
    ]
