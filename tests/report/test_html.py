"""The report is one well-formed file that shows everything and fetches nothing."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pandas as pd
import pytest
from example_table import HOSTILE, make_curves, make_rows, make_table

from ablations.figures import Source, build_charts, render_svg
from ablations.report.html import Page, embed_svg, format_value, list_findings, render_html

TRIALS = pd.DataFrame(
    {
        "trial": ["60e1143b8145", "cf05a58b41cf"],
        "variant": ["base", HOSTILE],
        "seed": [0, 1],
        "state": ["finished", "failed"],
        "reason": ["", f"raised {HOSTILE}"],
        "top1_error": [4.249999999999998, float("nan")],
        "commit": ["5fa0af741e047f29f2d808d6838b3739efb1506c", None],
        "dirty": [False, True],
    }
)
CHARTS = [
    (f"{chart.caption} {HOSTILE}", render_svg(chart))
    for chart in build_charts(
        Source(
            rows=make_rows(),
            curves=make_curves(make_rows()),
            baseline="base",
            recipe_name="quick",
            margin=0.5,
        )
    )
]
PAGE = Page(
    table=make_table(question=f"Which of {HOSTILE}?", notes=(HOSTILE, "A second note.")),
    expect=f"Not {HOSTILE}.",
    charts=CHARTS,
    trials=TRIALS,
    environments=TRIALS[["commit", "dirty"]],
    recipe={"learning_rate": 0.2, "seeds": (0, 1, 2), "name": HOSTILE, "hostile": {HOSTILE: None}},
)
HTML = render_html(PAGE)


def parse(html: str) -> ElementTree.Element:
    """The page as XML, which it is but for its first line."""
    return ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))


ROOT = parse(HTML)


def list_cells(section: str) -> list[str]:
    """The texts of a section's cells."""
    found = ROOT.find(f".//section[@id='{section}']")
    assert found is not None
    return ["".join(cell.itertext()).strip() for cell in found.iter("td")]


def test_it_starts_as_html() -> None:
    """Or browsers fall back to the ways of the nineties."""
    assert HTML.startswith("<!DOCTYPE html>\n<html lang")


def test_tags_are_closed_for_a_browser_too() -> None:
    """XML's `<g/>` is closed in an SVG alone; elsewhere only what is void may end that way."""
    void = {"meta", "br", "hr"}
    svg = re.compile(r"<svg.*?</svg>", re.DOTALL)

    assert set(re.findall(r"<(\w+)[^<>]*/>", svg.sub("", HTML))) <= void


def test_it_fetches_nothing() -> None:
    """No script, no image, no font, no style sheet: it can be mailed, and read in ten years."""

    class Fetches(HTMLParser):
        found: list[str] = []  # noqa: RUF012 - one parser

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag in {"script", "link", "img", "iframe", "object", "embed", "base", "image"}:
                self.found.append(tag)
            self.found += [
                f"{name}={value}"
                for name, value in attrs
                if name in {"src", "href", "xlink:href", "srcset", "data"}
                and not (value or "").startswith("#")
            ]

    parser = Fetches()
    parser.feed(HTML)

    assert parser.found == []
    assert "@import" not in HTML
    assert re.findall(r"url\((?!#)", HTML) == []
    assert "http" not in HTML


def test_hostile_names_are_text_wherever_they_stand() -> None:
    """In question, expectation, verdicts, cells, captions, notes, recipe, trials and drawings."""
    assert list(ROOT.iter("b")) == []
    assert "".join(ROOT.itertext()).count(HOSTILE) >= 12


def test_sections_are_in_order_under_one_heading() -> None:
    """What was asked, what came out, then how: no level is left out."""
    levels = [int(e.tag[1]) for e in ROOT.iter() if re.fullmatch(r"h\d", e.tag)]
    titles = [e.text for e in ROOT.iter("h2")]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert titles == [
        "Verdicts",
        "Table",
        "Figures",
        "Methods",
        "Recipe",
        "Environment",
        "Trials",
    ]


def test_every_trial_is_there_with_its_id() -> None:
    """The way from a number to its trials; a link may point at one."""
    rows = [row.get("id") for row in ROOT.iter("tr") if row.get("id")]

    assert rows == ["trial-60e1143b8145", "trial-cf05a58b41cf"]
    assert {"60e1143b8145", "cf05a58b41cf", "4.25", "–", "no", "yes"} <= set(list_cells("trials"))


def test_claims_come_with_verdict_scope_and_evidence() -> None:
    """A verdict without its scope would be read as of the paper's networks."""
    cells = list_cells("verdicts")

    assert any("base better than one seed: -0.33 ± 0.50 points, n = 1" in c for c in cells)
    assert {"undecided", "quick: digits, tiny, n=3"} <= set(cells)


def test_findings_say_why_there_is_no_verdict() -> None:
    """The baseline is not compared with itself."""
    findings = {finding.variant: finding for finding in list_findings(PAGE.table)}

    assert list(findings) == [HOSTILE, "one seed", "no trial"]
    assert findings[HOSTILE].text == "+0.65 ± 0.56 points, n = 3"
    assert findings[HOSTILE].verdict == "undecided"
    assert findings["one seed"].verdict == "no verdict"
    assert findings["no trial"].verdict == "no finished trial"


def test_the_baselines_row_is_marked() -> None:
    """One row, in the comparison."""
    marked = [row for row in ROOT.iter("tr") if row.get("class") == "baseline"]

    assert [next(row.iter("td")).text for row in marked] == ["base"]


def test_ids_are_unique() -> None:
    """Drawings share a page, and each refers to its own parts."""
    ids = [element.get("id") for element in ROOT.iter() if element.get("id")]
    used = re.findall(r"(?:url\(|href=\"|labelledby=\")#?([\w-]+)", HTML)

    assert len(ids) == len(set(ids))
    assert set(used) <= set(ids)
    assert len(used) > 20


def test_every_figure_is_named_by_its_caption() -> None:
    """For who hears the page."""
    drawings = list(ROOT.iter("svg"))
    captions = {caption.get("id"): caption.text for caption in ROOT.iter("figcaption")}

    assert len(drawings) == len(CHARTS) == 4
    for number, (drawing, (caption, _)) in enumerate(zip(drawings, CHARTS, strict=True), 1):
        assert drawing.get("role") == "img"
        assert captions[drawing.get("aria-labelledby")] == f"Figure {number}. {caption}"


def test_without_figures_there_is_no_section_for_them() -> None:
    """Nor a link to it."""
    html = render_html(replace(PAGE, charts=[]))

    assert "figures" not in html
    assert parse(html).find(".//svg") is None


def test_without_claims_there_is_no_table_of_them() -> None:
    """Most users' own experiments have none."""
    html = render_html(replace(PAGE, table=make_table(claims=())))

    assert "Claims" not in html
    assert "Variants" in html


def test_it_is_the_same_every_time() -> None:
    """A check compares it byte for byte."""
    assert render_html(PAGE) == HTML


def test_only_references_are_renamed() -> None:
    """A name that looks like one stays as it is."""
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        '<defs><path id="a" d="M 0 0"/></defs><g clip-path="url(#a)"><use xlink:href="#a"/></g>'
        '<text>id="a" url(#a)</text></svg>'
    )

    assert embed_svg(svg, prefix="f").removeprefix(
        '<svg role="img" aria-labelledby="f-caption">'
    ) == (
        '<defs><path id="f-a" d="M 0 0" /></defs><g clip-path="url(#f-a)"><use href="#f-a" /></g>'
        '<text>id="a" url(#a)</text></svg>'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (False, "no"),
        (0, "0"),
        ("", "–"),
        (float("nan"), "–"),
        ([], "–"),
        (5e-4, "0.0005"),
        ({"width": 8, "pool": False}, "width: 8, pool: no"),
    ],
)
def test_values_are_written_for_people(value: object, text: str) -> None:
    """Nothing reads as Python."""
    assert format_value(value) == text
