"""Names, questions, claims and reasons act in no medium that shows them: one test per medium."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from example_table import HOSTILE, make_curves, make_rows, make_table
from markdown_it import MarkdownIt
from nasty import CONTROLS, TEXTS
from rich.console import Console
from studies import make_plan, make_records, make_study

from ablations.cli import display
from ablations.config import Recipe
from ablations.data.catalogue import Dataset
from ablations.escapes import escape_controls
from ablations.figures import Source, build_charts, parse_svg, render_svg
from ablations.report.findings import render_findings
from ablations.report.html import Page, render_html
from ablations.report.index import render_index
from ablations.study import Study, read_export, render_export
from ablations.tables import Table, build_table, render_csv, render_latex, render_markdown

EMPHASIS = {"code", "strong", "em", "h1"}
"""Elements that a text may cause, and that do no harm."""

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><g id="a"/></svg>'


def make_hostile_table(text: str) -> Table:
    """A table with the text wherever a person's text may be."""
    table = make_table(
        rows=make_rows().rename(index={HOSTILE: text}),
        title=f"e, recipe {text}",
        question=text,
        notes=(text, f"A note on {text}"),
    )
    return replace(table, claims=tuple(replace(claim, name=text) for claim in table.claims))


@pytest.fixture
def study(recipe: Recipe, dataset: Dataset) -> Study:
    """A study with ordinary names."""
    plan = make_plan(recipe, dataset)
    return make_study(plan, make_records(plan))


def rename(study: Study, text: str) -> Study:
    """The study with the text as name of a variant, question and expectation."""
    definition = study.definition
    rows = tuple(replace(r, name=text) if r.name == "extra" else r for r in definition.rows)
    return replace(
        study,
        definition=replace(definition, rows=rows, question=text, expect=text),
        trials=tuple(
            replace(t, variant=text, reason=text) if t.variant == "extra" else t
            for t in study.trials
        ),
        scales={text if name == "extra" else name: s for name, s in study.scales.items()},
    )


class _Reader(HTMLParser):
    """Collects elements, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.names |= {name for name, _ in attrs}
        self.links += [str(value) for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


def read_markdown(markdown: str) -> _Reader:
    """The page that a renderer makes of Markdown, with all of its HTML."""
    return _Reader(MarkdownIt("commonmark").enable("table").render(markdown))


@pytest.mark.parametrize("text", TEXTS)
def test_markdown(text: str) -> None:
    """Every row keeps its cells; there are no elements and no links but ours."""
    table = make_hostile_table(text)
    plain = read_markdown(render_markdown(make_hostile_table("plain")))

    page = read_markdown(render_markdown(table))

    assert page.links == []
    assert [e for e in page.elements if e not in EMPHASIS] == [
        e for e in plain.elements if e not in EMPHASIS
    ]


@pytest.mark.parametrize("text", TEXTS)
def test_the_index(text: str, study: Study) -> None:
    """Its links lead to the files of the study alone, whatever the names are."""
    hostile = rename(study, text)
    definition = replace(hostile.definition, experiment=text, recipe_name=text)
    hostile = replace(hostile, definition=definition)

    page = read_markdown(render_index([(hostile, make_hostile_table(text))]))

    assert all(
        re.search("/(table.md|report.html|trials.csv)$|^findings.md$", link) for link in page.links
    )
    assert not {"script", "img", "b"} & set(page.elements)
    assert page.elements.count("tr") == 2
    assert page.elements.count("td") == 8


@pytest.mark.parametrize("text", TEXTS)
def test_the_findings(text: str, study: Study) -> None:
    """Its links lead to the table of the study and to its figure alone, whatever the names are."""
    usual, page = (
        read_markdown(render_findings([(entry, replace(build_table(entry), claims=claims))], None))
        for name in ("plain", text)
        for renamed in (rename(study, name),)
        for definition in (replace(renamed.definition, experiment=name, recipe_name=name),)
        for entry in (replace(renamed, definition=definition),)
        for claims in (make_hostile_table(name).claims,)
    )

    assert all(link.endswith("/table.md") for link in page.links)
    assert [e for e in page.elements if e not in EMPHASIS] == [
        e for e in usual.elements if e not in EMPHASIS
    ]


@pytest.mark.parametrize("text", TEXTS)
def test_spreadsheets(text: str, study: Study, tmp_path: Path) -> None:
    """No cell is a formula, and the records are read back unchanged."""
    hostile = rename(study, text)
    contents = render_export(hostile)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    shown = render_csv(make_hostile_table(text))

    cells = [
        cell
        for content in (contents["trials.csv"].decode(), shown)
        for row in csv.reader(io.StringIO(content, newline=""))
        for cell in row
    ]

    assert not [c for c in cells if c[:1] in ("=", "+", "@", "\t", "\r")]
    assert not [c for c in cells if re.match(r"-.*[^\d.e-]", c)]
    assert read_export(tmp_path).trials == hostile.trials


@pytest.mark.parametrize("text", TEXTS)
def test_latex(text: str) -> None:
    """No command but ours, and braces that match."""
    lines = render_latex(make_hostile_table(text)).splitlines()
    plain = render_latex(make_hostile_table("plain"))

    body = "\n".join(lines)

    assert not re.search(r"\\(input|write18|frac|usepackage(?!\{))\b", body)
    assert len(lines) == len(plain.splitlines())
    assert re.sub(r"\\[{}]", "", body).count("{") == re.sub(r"\\[{}]", "", body).count("}")


@pytest.mark.parametrize("text", TEXTS)
def test_drawings(text: str) -> None:
    """SVG shows the name as text, and our own reader accepts it."""
    rows = make_rows().rename(index={HOSTILE: text})
    source = Source(
        rows=rows,
        curves=make_curves(rows),
        baseline="base",
        recipe_name=text,
        margin=0.5,
        only_printed=(),
    )
    chart = next(chart for chart in build_charts(source) if chart.name == "errors")

    drawing = render_svg(chart)

    parse_svg(drawing)
    root = ElementTree.fromstring(drawing)
    shown = "".join("".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text"))
    assert re.sub(r"\s", "", text) in re.sub(r"\s", "", shown)


@pytest.mark.parametrize("text", TEXTS)
def test_html(text: str) -> None:
    """The report has the elements and attributes of one with ordinary names."""
    pages = []
    for shown in ("plain", text):
        frame = pd.DataFrame({"trial": ["0" * 12], "variant": [shown], "reason": [shown]})
        page = Page(
            table=make_hostile_table(shown),
            expect=shown,
            charts=[(shown, SVG)],
            trials=frame,
            environments=frame,
            recipe={"name": shown, "values": {shown: [shown]}},
        )
        pages.append(_Reader(render_html(page)))

    plain, hostile = pages
    assert hostile.elements == plain.elements
    assert hostile.names == plain.names
    assert [link for link in hostile.links if not link.startswith("#")] == []
    assert hostile.text.count(text) >= 9


@pytest.mark.parametrize("text", [*TEXTS, *CONTROLS])
def test_terminals(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is markup, nothing controls the terminal, and everything is shown."""
    console = Console(file=io.StringIO(), width=400, markup=False, emoji=False, highlight=False)
    monkeypatch.setattr(display, "stdout", console)
    monkeypatch.setattr(display, "stderr", console)
    table = display.make_table("name")

    display.add_row(table, text)
    console.print(table)
    display.print_rows(["name"], [[text]])
    display.print_heading(text, text)
    display.print_line(text)
    display.print_message(text)
    display.print_json({"name": text})

    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count(escape_controls(text)) >= 6
    assert shown.replace("\n", "").isprintable() or not text.isprintable()
    assert not set("\0\x07\x1b\r\u202e") & set(escape_controls(text))
    assert json.loads(shown[shown.rindex("{\n") :])["name"] == text
