"""Compares every printed complexity and shape with our own count of the network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal, TypedDict

from ablations.complexity.counts import Complexity, Sized, TorchvisionNetwork
from ablations.config import Cell, Complexities, PaperRow, PaperTable, Provenance
from sknet.zoo import NETWORKS

Verdict = Literal["exact", "explained", "unverified", "published only", "DIFFERS"]
"""Equal at the printed precision; different for a known reason; different from a number that was
not read in the paper, for an unknown reason; of a network that sknet does not build; or different
from a number of the paper for an unknown reason, which is a fault."""

SHAPES: tuple[Cell, ...] = ("depths", "mid_widths", "out_widths")
"""Cells that hold the shape of a body."""

UNITS: Mapping[Complexities, int] = {"params_m": 10**6, "gflops": 10**9, "mflops": 10**6}
"""Cells that hold a complexity, with their unit."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One printed cell compared with our count."""

    table: str
    """Key of the table."""

    row: str
    """Name of the row."""

    column: Cell
    """Name of the cell."""

    provenance: Provenance
    """Where the printed number was read."""

    printed: str
    """The printed number."""

    ours: str | None
    """Our number with one more digit; None if there is no network to count."""

    difference: str | None
    """Our number at the printed precision minus the printed one; None for shapes."""

    verdict: Verdict
    """Result of the comparison."""

    reason: str
    """Why the numbers differ, or why that is unknown; empty if they agree."""


class _Judged(TypedDict):
    """The fields of a check that follow from the comparison."""

    ours: str | None
    difference: str | None
    verdict: Verdict
    reason: str


def list_networks(tables: Mapping[str, PaperTable]) -> list[Sized]:
    """Every network of the tables that can be counted."""
    return [
        sized
        for table in tables.values()
        for row in table.rows.values()
        if (sized := _find_network(row)) is not None
    ]


def check_tables(
    tables: Mapping[str, PaperTable], complexities: Mapping[Sized, Complexity]
) -> Iterator[Check]:
    """Yields a check of every complexity and shape in the tables, in the papers' order.

    Args:
        tables: The printed tables.
        complexities: Complexity of every network in `list_networks`.
    """
    for key, table in tables.items():
        for name, row in table.rows.items():
            judged: dict[Cell, _Judged | None] = {c: _judge_shape(row, c) for c in SHAPES}
            judged |= {c: _judge_complexity(row, c, complexities) for c in UNITS}
            for column, verdict in judged.items():
                if verdict is not None:
                    printed = _format(getattr(row, column))
                    yield Check(
                        table=key,
                        row=name,
                        column=column,
                        provenance=table.find_provenance(name, column),
                        printed=printed,
                        **verdict,
                    )


def _find_network(row: PaperRow) -> Sized | None:
    if row.network is not None:
        return Sized(NETWORKS[row.network], row.image_size)
    if row.torchvision is not None:
        return Sized(TorchvisionNetwork(row.torchvision), row.image_size)
    return None


def _judge_shape(row: PaperRow, column: Cell) -> _Judged | None:
    """Compares the shape of a body; None if it is not printed."""
    if getattr(row, column) is None:
        return None
    body = NETWORKS[row.network].body if row.network else None
    ours: tuple[int, ...] | None = getattr(body, column, None)
    return {
        "ours": None if ours is None else _format(ours),
        "difference": None,
        "verdict": "exact" if ours == getattr(row, column) else "DIFFERS",
        "reason": "",
    }


def _judge_complexity(
    row: PaperRow, column: Complexities, complexities: Mapping[Sized, Complexity]
) -> _Judged | None:
    """Compares a complexity; None if it is not printed."""
    printed: Decimal | None = getattr(row, column)
    if printed is None:
        return None
    sized = _find_network(row)
    if sized is None:
        return {"ours": None, "difference": None, "verdict": "published only", "reason": ""}
    found = complexities[sized]
    counted = found.params if column == "params_m" else found.macs
    rounded = _round(counted, column, printed)
    verdict, reason = _explain(row, column, rounded=rounded, found=found)
    return {
        "ours": str(_round(counted, column, printed.scaleb(-1))),
        "difference": f"{rounded - printed:+}",
        "verdict": verdict,
        "reason": reason,
    }


def _explain(
    row: PaperRow, column: Complexities, *, rounded: Decimal, found: Complexity
) -> tuple[Verdict, str]:
    """The verdict on a complexity that was counted, and the reason."""
    printed: Decimal = getattr(row, column)
    if row.network is None:
        return "published only", "torchvision's network, by our count"
    explanation = row.explained.get(column)
    if explanation is None:
        return ("exact" if rounded == printed else "DIFFERS"), ""
    with_statistics = _round(found.params + found.running_statistics, column, printed)
    if not rounded == explanation.ours != printed:
        return "DIFFERS", f"paper.yaml expects our count to be {explanation.ours}"
    if explanation.running_statistics and with_statistics != printed:
        return "DIFFERS", f"with running statistics it is {with_statistics}"
    if not explanation.reason:
        return "unverified", "the printed number was not read in the paper"
    return "explained", explanation.reason


def _round(count: int, column: Complexities, like: Decimal) -> Decimal:
    """A count in the unit of the column, with as many decimals as `like`."""
    return (Decimal(count) / UNITS[column]).quantize(like, rounding=ROUND_HALF_UP)


def _format(value: Decimal | tuple[int, ...]) -> str:
    return str(value) if isinstance(value, Decimal) else "-".join(map(str, value))
