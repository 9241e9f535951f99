"""Cells that were read in a paper equal our counts, or differ for a documented reason."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from conftest import ROOT, Answer
from pydantic import ValidationError

from ablations.complexity.counts import Complexity, Sized
from ablations.complexity.verification import Check, check_tables, list_networks
from ablations.config import Explanation, PaperRow, PaperTable, Provenance, read_paper
from sknet.zoo import NETWORKS

GOLDEN = json.loads((ROOT / "tests" / "golden" / "complexity.json").read_text(encoding="utf-8"))
OTHER = Complexity(
    params=27_161_264,
    running_statistics=0,
    macs=5_713_000_000,
    rescaling_macs=0,
    fvcore_total=0,
    uncounted=(),
)


def count(sized: Sized) -> Complexity:
    """The pinned counts, which other tests compare with the networks."""
    for name, spec in NETWORKS.items():
        if spec == sized.network:
            return replace(OTHER, **GOLDEN[name])
    return OTHER


def check(tables: dict[str, PaperTable]) -> list[Check]:
    """All cells of the tables against the pinned counts."""
    return list(check_tables(tables, {sized: count(sized) for sized in list_networks(tables)}))


@pytest.mark.parametrize("found", check(dict(read_paper())), ids=lambda c: f"{c.row}, {c.column}")
def test_every_cell_read_in_a_paper_is_exact_or_explained(found: Check) -> None:
    """An unexplained difference would mean that the networks are not the papers'."""
    assert found.verdict in ("exact", "explained", "unverified", "published only")
    assert (found.verdict == "explained") <= bool(found.reason)
    assert (found.verdict == "unverified") <= (found.provenance in ("secondary", "unverified"))


def test_the_documentation_shows_the_totals() -> None:
    """In the words of `ablations verify`."""
    totals = Counter(found.verdict for found in check(dict(read_paper())))
    parts = ", ".join(f"{number} {verdict}" for verdict, number in totals.items())

    page = (ROOT / "docs/complexity.md").read_text(encoding="utf-8")
    assert f"{totals.total()} cells: {parts}." in page


def make_table(*, provenance: Provenance = "printed", **cells: object) -> dict[str, PaperTable]:
    """A table with one row: SKNet-50, 27.48 million parameters, 27.56 with statistics."""
    row = PaperRow(network="sknet50", **cells)
    return {"t": PaperTable(source="A paper", provenance=provenance, rows={"r": row})}


@pytest.mark.parametrize(
    ("printed", "explanation", "verdict"),
    [
        ("27.5", None, "exact"),
        ("27.48", None, "exact"),
        ("27.4", None, "DIFFERS"),
        ("27.6", {"ours": "27.5", "reason": "why"}, "explained"),
        ("27.6", {"ours": "27.5", "reason": "why", "running_statistics": True}, "explained"),
        ("27.7", {"ours": "27.5", "reason": "why", "running_statistics": True}, "DIFFERS"),
        ("27.6", {"ours": "27.4", "reason": "why"}, "DIFFERS"),
        ("27.5", {"ours": "27.5", "reason": "no longer needed"}, "DIFFERS"),
    ],
)
def test_an_explanation_holds_for_one_count(
    printed: str, explanation: dict | None, verdict: str
) -> None:
    """If the code changes, an old reason does not excuse a new count."""
    explained = {"params_m": Explanation.model_validate(explanation)} if explanation else {}

    [found] = check(make_table(params_m=Decimal(printed), explained=explained))

    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("printed", "ours", "verdict"),
    [("27.6", "27.5", "unverified"), ("27.6", "27.4", "DIFFERS"), ("27.5", "27.5", "DIFFERS")],
)
def test_a_difference_without_a_reason_is_unverified(printed: str, ours: str, verdict: str) -> None:
    """It holds for one count, as an explanation does, and only if nobody read the number."""
    explained = {"params_m": Explanation(ours=Decimal(ours))}
    cells = {"params_m": Decimal(printed), "explained": explained}

    [found] = check(make_table(provenance="unverified", **cells))

    assert found.verdict == verdict
    with pytest.raises(ValidationError, match="reason must be given if the number is printed"):
        make_table(**cells)


def test_shapes_are_checked() -> None:
    """Table 1 prints the body itself, not a count."""
    [right] = check(make_table(depths=(3, 4, 6, 3)))
    [wrong] = check(make_table(depths=(3, 4, 23, 3)))

    assert (right.verdict, wrong.verdict) == ("exact", "DIFFERS")
    assert (wrong.printed, wrong.ours) == ("3-4-23-3", "3-4-6-3")


def test_differences_are_rounded_once() -> None:
    """4.4682 is 4.47, so there is no difference; our number is shown with one more digit."""
    [found] = check(make_table(gflops=Decimal("4.47")))

    assert (found.ours, found.difference) == ("4.468", "+0.00")


def test_checks_have_the_provenance_of_their_cell() -> None:
    """A cell of a row may have been read elsewhere than the table."""
    cells = {"params_m": Decimal("27.5"), "gflops": Decimal("4.47")}

    row = PaperRow(network="sknet50", **cells, provenance={"gflops": "recomputed"})
    found = check({"t": PaperTable(source="A paper", provenance="printed", rows={"r": row})})

    assert {c.column: c.provenance for c in found} == {
        "params_m": "printed",
        "gflops": "recomputed",
    }


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `ablations verify` use the pinned counts, since counting takes a minute."""

    def pinned(networks: list[Sized], **_: object) -> dict[Sized, Complexity]:
        return {sized: count(sized) for sized in networks}

    monkeypatch.setattr("ablations.complexity.count_complexities", pinned)


@pytest.mark.usefixtures("counted")
def test_verify_prints_every_cell(command: Callable[..., Answer]) -> None:
    """Of all tables or the named ones, also as JSON."""
    everything, one, recalled = (
        command("ablations", "verify"),
        command("ablations", "verify", "--table", "table6"),
        command("ablations", "verify", "--table", "table4"),
    )
    data = json.loads(command("ablations", "verify", "--table", "table6", "--json").out)

    assert (everything.code, one.code, recalled.code) == (0, 0, 0)
    assert re.search(r"\d+ cells: \d+ exact, \d+ explained, \d+ published only", everything.out)
    assert "10 cells: 8 exact, 2 explained." in one.out
    assert "16 cells: 2 exact, 2 explained, 12 unverified." in recalled.out
    assert data["totals"] == {"exact": 8, "explained": 2}
    assert len(data["checks"]) == 10


@pytest.mark.usefixtures("counted")
def test_verify_fails_on_a_difference(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is 1, and the cell is marked."""
    tables = make_table(params_m=Decimal("26.0"))
    monkeypatch.setattr("ablations.config.read_paper", lambda: tables)

    answer = command("ablations", "verify")

    assert answer.code == 1
    assert "DIFFERS" in answer.out
    assert "1 cell(s) differ" in answer.err


def test_verify_refuses_an_unknown_table(command: Callable[..., Answer]) -> None:
    """The message lists the tables."""
    answer = command("ablations", "verify", "--table", "table99")

    assert answer.code == 2
    assert "sknet.table6_dilation_group" in answer.err
