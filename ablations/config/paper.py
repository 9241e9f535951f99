"""paper.yaml: the numbers that the papers printed, and where they were read."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, PositiveInt, TypeAdapter, model_validator

from ablations.config.text import read_yaml
from ablations.config.variants import Strict

Complexities = Literal["params_m", "gflops", "mflops"]
"""Printed cells that can be counted."""

Cell = Literal[
    "top1_error",
    "top1_error_320",
    "top5_error",
    "cifar10_error",
    "cifar100_error",
    "params_m",
    "gflops",
    "mflops",
    "depths",
    "mid_widths",
    "out_widths",
]
"""Cells that a paper may print."""

Provenance = Literal["printed", "secondary", "recomputed", "unverified"]
"""Where a number was read: in the paper's own table; in another publication that quotes it;
recalled, and confirmed by counting the construction; or only recalled."""


class Explanation(Strict):
    """Our count of a cell where it differs from the printed number, and why it differs."""

    ours: Decimal
    """Our count at the printed precision; the entry is valid for no other."""

    reason: str = ""
    """Why it differs. May be empty if the printed number was not read in the paper: then nothing
    explains the difference, and the cell is unverified."""

    running_statistics: bool = False
    """Whether the cell is exact once the running statistics of batch normalisation are counted."""


class PaperRow(Strict):
    """Cells that a paper printed for one network, with their printed precision."""

    network: str | None = None
    """Network of sknet's zoo that the row describes."""

    torchvision: str | None = None
    """Network of torchvision that the row describes, if sknet does not build it."""

    image_size: PositiveInt = 224
    """Side in pixels of the images that multiply-adds are counted on."""

    top1_error: Decimal | None = None
    """Percent, at 224x224."""

    top1_error_320: Decimal | None = None
    """Percent, at 320x320."""

    top5_error: Decimal | None = None
    """Percent, at 224x224."""

    cifar10_error: Decimal | None = None
    """Percent."""

    cifar100_error: Decimal | None = None
    """Percent."""

    params_m: Decimal | None = None
    """Millions of parameters."""

    gflops: Decimal | None = None
    """1e9 multiply-adds."""

    mflops: Decimal | None = None
    """1e6 multiply-adds."""

    depths: tuple[PositiveInt, ...] | None = None
    """Blocks per stage."""

    mid_widths: tuple[PositiveInt, ...] | None = None
    """Channels of the spatial operator, by stage."""

    out_widths: tuple[PositiveInt, ...] | None = None
    """Output channels, by stage."""

    explained: dict[Complexities, Explanation] = Field(default_factory=dict)
    """Cells where our count differs, with our count and the reason."""

    provenance: dict[Cell, Provenance] = Field(default_factory=dict)
    """Cells that were read elsewhere than the rest of the table; one word applies to all cells."""

    @model_validator(mode="before")
    @classmethod
    def _expand_provenance(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(word := values.get("provenance"), str):
            cells = [key for key in values if key in get_args(Cell)]
            return {**values, "provenance": dict.fromkeys(cells, word)}
        return values


class PaperTable(Strict):
    """One table of a paper."""

    source: str
    """Paper and table."""

    recipe: str = ""
    """How the printed networks were trained and evaluated."""

    provenance: Provenance
    """Where the numbers were read, unless a row says otherwise."""

    rows: dict[str, PaperRow]
    """Cells by row name."""

    @model_validator(mode="after")
    def _require_reasons(self) -> Self:
        for name, row in self.rows.items():
            for cell, explanation in row.explained.items():
                provenance = self.find_provenance(name, cell)
                if not explanation.reason and provenance in ("printed", "recomputed"):
                    raise ValueError(
                        f"{name}.explained.{cell}: reason must be given if the number is "
                        f"{provenance}, got none"
                    )
        return self

    def find_provenance(self, row: str, cell: Cell) -> Provenance:
        """Where the number in a cell was read."""
        return self.rows[row].provenance.get(cell, self.provenance)


def read_paper() -> Mapping[str, PaperTable]:
    """The printed tables by key."""
    raw, _ = read_yaml(Path(__file__).parents[1] / "paper.yaml", exact=True)
    return TypeAdapter(dict[str, PaperTable]).validate_python(raw)
