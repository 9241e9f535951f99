"""The proof that our networks are the papers': every printed complexity against our count."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

from ablations.complexity import Complexity, Sized, TorchvisionNetwork
from ablations.config import PaperRow, PaperTable
from sknet.spec import Body
from sknet.zoo import NETWORKS

Verdict = Literal["exact", "explained", "published only", "DIFFERS"]
"""Equal at the printed precision; different for a known reason; of a network that sknet does not
build; or different without a reason, which must not be."""

SHAPES = ("depths", "mid_widths", "out_widths")
"""Cells that hold a body's shape."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One printed cell, held against ours."""

    table: str
    """Key of the table."""

    row: str
    """Name of the row."""

    column: str
    """Name of the cell."""

    provenance: str
    """Where the printed number was read."""

    printed: str
    """The number as it is printed."""

    ours: str | None
    """Ours at one more digit; None if there is no network to count."""

    difference: str | None
    """Ours, at the printed precision, less the printed number; None where it makes no sense."""

    verdict: Verdict
    """What comes of it."""

    reason: str
    """Why it differs."""


def list_networks(tables: Mapping[str, PaperTable]) -> list[Sized]:
    """Every network that the tables' cells speak of and that can be counted."""
    return [
        sized
        for table in tables.values()
        for row in table.rows.values()
        if (sized := _find_network(row)) is not None
    ]


def check_tables(
    tables: Mapping[str, PaperTable], complexities: Mapping[Sized, Complexity]
) -> Iterator[Check]:
    """Yields every complexity cell and every shape of the tables, in the papers' order.

    Args:
        tables: The printed tables.
        complexities: Of all that `list_networks` names.
    """
    for key, table in tables.items():
        for name, row in table.rows.items():
            for column in (*SHAPES, "params_m", "gflops"):
                printed = getattr(row, column)
                if printed is None:
                    continue
                ours, verdict, reason = _judge(row, column, complexities)
                yield Check(
                    table=key,
                    row=name,
                    column=column,
                    provenance=table.provenance,
                    printed=_format(printed),
                    ours=None if ours is None else _format(ours),
                    difference=_subtract(ours, printed),
                    verdict=verdict,
                    reason=reason,
                )


def _find_network(row: PaperRow) -> Sized | None:
    if row.network is not None:
        return Sized(NETWORKS[row.network], row.image_size)
    if row.torchvision is not None:
        return Sized(TorchvisionNetwork(row.torchvision), row.image_size)
    return None


def _judge(
    row: PaperRow, column: str, complexities: Mapping[Sized, Complexity]
) -> tuple[Decimal | tuple[int, ...] | None, Verdict, str]:
    """Our value of a cell, what comes of it, and why."""
    if column in SHAPES:
        ours = _find_shape(row, column)
        return ours, "exact" if ours == getattr(row, column) else "DIFFERS", ""
    sized = _find_network(row)
    if sized is None:
        return None, "published only", ""
    found = complexities[sized]
    counted = Decimal(found.params) / 10**6 if column == "params_m" else Decimal(found.macs) / 10**9
    printed: Decimal = getattr(row, column)
    rounded = counted.quantize(printed, rounding=ROUND_HALF_UP)
    shown = counted.quantize(printed / 10, rounding=ROUND_HALF_UP)
    if row.network is None:
        return shown, "published only", "torchvision's network, by our count"
    explanation = row.explained.get("params_m" if column == "params_m" else "gflops")
    if explanation is None:
        return shown, "exact" if rounded == printed else "DIFFERS", ""
    if rounded == explanation.ours != printed:
        return shown, "explained", explanation.reason
    return shown, "DIFFERS", f"the explanation holds for {explanation.ours} alone"


def _find_shape(row: PaperRow, column: str) -> tuple[int, ...] | None:
    body = NETWORKS[row.network].body if row.network else None
    if not isinstance(body, Body):
        return None
    shape: tuple[int, ...] = getattr(body, column)
    return shape


def _subtract(ours: Decimal | tuple[int, ...] | None, printed: object) -> str | None:
    if not (isinstance(ours, Decimal) and isinstance(printed, Decimal)):
        return None
    return f"{ours.quantize(printed, rounding=ROUND_HALF_UP) - printed:+}"


def _format(value: Decimal | tuple[int, ...]) -> str:
    return str(value) if isinstance(value, Decimal) else "-".join(map(str, value))
