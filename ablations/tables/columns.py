"""The columns of a table: where values come from, what headings say, how cells are printed.

Adding a column takes one entry of `COLUMNS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ablations.complexity.scales import Scales
from ablations.config import COLUMNS as SETTINGS
from ablations.config import PaperRow
from ablations.evaluations import Evaluation, Measure
from ablations.speed import Speed
from ablations.statistics import Difference, Mean, summarise
from ablations.study import Definition, Study
from ablations.tables.comparison import Comparison, Further

UNKNOWN = "–"
"""Text of a cell without a value."""

NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Everything that is known about one row of a table."""

    name: str
    """Name of the variant, or of a row that is only printed."""

    study: Study
    """The study that the table shows."""

    comparison: Comparison
    """Statistics of all variants."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the variant; empty for a row that is only printed."""
        rows = self.study.definition.rows
        return next((row.settings for row in rows if row.name == self.name), {})

    @property
    def printed(self) -> PaperRow:
        """Cells that the papers print."""
        return self.study.definition.printed_cells.get(self.name, PaperRow())

    @property
    def scales(self) -> Scales | None:
        """Complexities; None for a row that is only printed."""
        return self.study.scales.get(self.name)

    @property
    def speed(self) -> Speed | None:
        """Measured speed; None without a benchmark."""
        return self.study.speeds.get(self.name)

    @property
    def published(self) -> Evaluation | None:
        """Published weights of the network at the paper's scale; None without an evaluation."""
        return self.study.published.get(self.name)

    @property
    def mean(self) -> Mean | None:
        """Mean top-1 error; None without a finished trial."""
        errors = self.comparison.errors.get(self.name)
        return None if errors is None else summarise(errors.dropna())

    @property
    def difference(self) -> Difference | None:
        """Difference from the baseline; None without a common seed."""
        return self.comparison.differences.get(self.name)

    @property
    def is_baseline(self) -> bool:
        """Whether the other rows are compared with this one."""
        return self.name == self.comparison.baseline


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table."""

    key: str
    """Name in table.csv; the half width of `KEY` is in the column `KEY_half_width`."""

    value: Callable[[Row], Any]
    """The value of a row; NaN for an unknown number, None for an unknown text."""

    group: str = ""
    """Heading over neighbouring columns, which may name the `{recipe}`."""

    heading: str = ""
    """Heading, which may name the `{baseline}`; empty if only table.csv has the column."""

    compact: str = ""
    """Heading in the compact form; empty if that leaves the column out."""

    abbreviations: Mapping[str, str] = field(default_factory=dict)
    """Replacements in the cells of the compact form."""

    count: str = ""
    """Key of the column with the number of seeds behind a cell, which the compact form adds."""

    format: str = "{:.2f}"
    """Format of a number."""

    text: Callable[[Row], str | None] = lambda _: None
    """The cell, where it does not follow from the value."""

    is_present: Callable[[Sequence[Row]], bool] = lambda _: True
    """Whether a table with these rows has the column."""

    def fill(self, **words: str) -> "Column":
        """Fills in the words that headings may name."""
        return replace(self, group=self.group.format(**words), heading=self.heading.format(**words))

    @property
    def title(self) -> str:
        """The heading with its group."""
        return f"{self.group}: {self.heading}" if self.group else self.heading


def list_columns(rows: Sequence[Row], definition: Definition) -> tuple[Column, ...]:
    """Lists the columns of a table in order; the first one holds the names of the rows."""
    is_told_apart = _is_told_apart(definition)
    name = Column(key="variant", value=lambda row: row.name)
    if not is_told_apart:
        name = replace(name, heading="variant", compact="variant")
    return (
        name,
        *(_show_setting(key, is_compact=is_told_apart) for key in definition.columns),
        *(
            column.fill(recipe=definition.recipe_name, baseline=definition.baseline)
            for column in COLUMNS
            if column.is_present(rows)
        ),
    )


def _is_told_apart(definition: Definition) -> bool:
    """Whether the settings that the table shows differ in every row, so that it needs no names."""
    settings = {str([row.settings[key] for key in definition.columns]) for row in definition.rows}
    return bool(definition.columns) and len(settings) == len(definition.list_names())


def _show_setting(key: str, *, is_compact: bool) -> Column:
    heading = SETTINGS[key].heading
    return Column(
        key=key,
        value=lambda row: row.settings.get(key),
        heading=heading,
        compact=heading if is_compact else "",
        format="{:g}",
    )


def _show_printed(cell: str, heading: str, *, compact: str = "") -> Column:
    """A kind of cell that papers print, with the paper's digits."""

    def read(row: Row) -> Any:
        return getattr(row.printed, cell)

    return Column(
        key=f"paper_{cell}",
        value=lambda row: NAN if read(row) is None else float(read(row)),
        group="paper",
        heading=heading,
        compact=compact,
        text=lambda row: None if read(row) is None else str(read(row)),
        is_present=lambda rows: any(read(row) is not None for row in rows),
    )


def _show_published(
    measure: Measure, image_size: int, *, beside: str, heading: str, compact: str = ""
) -> Column:
    """An error of published weights, where a paper prints the cell beside which it stands."""

    def compute(row: Row) -> float:
        return row.published.compute_error(measure, image_size) if row.published else NAN

    return Column(
        key=f"published_{beside}",
        value=compute,
        group="published weights",
        heading=heading,
        compact=compact,
        is_present=lambda rows: (
            any(row.published for row in rows)
            and any(getattr(row.printed, beside) is not None for row in rows)
        ),
    )


def _show_macs(unit: str, factor: float, *, is_in_millions: bool) -> Column:
    """Multiply-adds at the paper's scale, in the unit that the papers use for this experiment."""
    return Column(
        key=f"paper_scale_{unit.lower()}",
        value=lambda row: row.scales.paper.macs / factor if row.scales else NAN,
        group="ours, paper's scale",
        heading=f"{unit} (multiply-adds)",
        compact=unit,
        is_present=lambda rows: _is_in_millions(rows) == is_in_millions,
    )


def _is_in_millions(rows: Sequence[Row]) -> bool:
    cells = rows[0].study.definition.printed_cells.values()
    return any(c.mflops is not None for c in cells) and all(c.gflops is None for c in cells)


def _show_speed(
    key: str, heading: str, read: Callable[[Speed], float], *, number: str = "{:,.1f}"
) -> Column:
    """A measured speed, the median over the rounds."""
    return Column(
        key=key,
        value=lambda row: read(row.speed) if row.speed else NAN,
        group="speed",
        heading=heading,
        format=number,
        is_present=lambda rows: any(row.speed for row in rows),
    )


def _show_further(measure: Further, heading: str) -> Column:
    """An error besides the top-1 error, where a paper prints it and our trials measure it."""

    def average(row: Row) -> float:
        errors = row.comparison.further[measure].get(row.name)
        return NAN if errors is None else float(errors.mean())

    return Column(
        key=measure,
        value=average,
        group="{recipe}",
        heading=heading,
        is_present=lambda rows: (
            any(getattr(row.printed, measure) is not None for row in rows)
            and not rows[0].comparison.further[measure].empty
        ),
    )


def _read_difference(row: Row) -> float:
    if row.difference:
        return row.difference.mean
    return 0.0 if row.is_baseline else NAN


def _read_verdict(row: Row) -> str | None:
    verdict = row.comparison.verdicts.get(row.name)
    return verdict.text if verdict else None


def _read_mcnemar(row: Row) -> float:
    disagreement = row.comparison.disagreements.get(row.name)
    return disagreement.p if disagreement else NAN


COLUMNS: tuple[Column, ...] = (
    _show_printed("top1_error", "error %", compact="paper"),
    _show_printed("top1_error_320", "error at 320 %"),
    _show_printed("top5_error", "top-5 error %"),
    _show_printed("cifar10_error", "CIFAR-10 error %", compact="paper C10"),
    _show_printed("cifar100_error", "CIFAR-100 error %", compact="paper C100"),
    _show_printed("params_m", "params M"),
    _show_printed("gflops", "GFLOPs (multiply-adds)"),
    _show_printed("mflops", "MFLOPs (multiply-adds)"),
    _show_published("top1", 224, beside="top1_error", heading="error %", compact="published"),
    _show_published("top1", 320, beside="top1_error_320", heading="error at 320 %"),
    _show_published("top5", 224, beside="top5_error", heading="top-5 error %"),
    Column(
        key="paper_scale_params_m",
        value=lambda row: row.scales.paper.params / 1e6 if row.scales else NAN,
        group="ours, paper's scale",
        heading="params M",
    ),
    _show_macs("GFLOPs", 1e9, is_in_millions=False),
    _show_macs("MFLOPs", 1e6, is_in_millions=True),
    Column(
        key="trained_params",
        value=lambda row: row.scales.trained.params if row.scales else NAN,
        group="trained network",
        heading="params",
        format="{:,.0f}",
    ),
    Column(
        key="trained_mflops",
        value=lambda row: row.scales.trained.macs / 1e6 if row.scales else NAN,
        group="trained network",
        heading="MFLOPs (multiply-adds)",
        format="{:.3f}",
    ),
    _show_speed(
        "train_images_per_second", "training images/s", lambda s: s.train_images_per_second.median
    ),
    _show_speed(
        "test_images_per_second", "inference images/s", lambda s: s.test_images_per_second.median
    ),
    _show_speed("latency_ms", "latency ms", lambda s: s.latency_ms.median, number="{:.2f}"),
    _show_speed("memory_mb", "memory MB", lambda s: s.memory_mb, number="{:,.0f}"),
    Column(
        key="n",
        value=lambda row: row.mean.n if row.mean else 0,
        group="{recipe}",
        heading="n",
        format="{:.0f}",
        text=lambda row: None if row.scales else UNKNOWN,
    ),
    Column(
        key="top1_error",
        value=lambda row: row.mean.mean if row.mean else NAN,
        group="{recipe}",
        heading="error %",
        compact="error %",
    ),
    Column(
        key="top1_error_half_width",
        value=lambda row: row.mean.half_width if row.mean else NAN,
    ),
    Column(
        key="top1_error_std",
        value=lambda row: row.mean.std if row.mean else NAN,
        group="{recipe}",
        heading="std",
    ),
    _show_further("top1_error_320", "error at 320 %"),
    _show_further("top5_error", "top-5 error %"),
    Column(
        key="difference",
        value=_read_difference,
        group="{recipe}",
        heading="difference from {baseline}",
        compact="difference",
        format="{:+.2f}",
        text=lambda row: "baseline" if row.is_baseline else None,
    ),
    Column(
        key="difference_half_width",
        value=lambda row: row.difference.half_width if row.difference else NAN,
    ),
    Column(
        key="difference_p_holm",
        value=lambda row: row.difference.p_corrected if row.difference else NAN,
    ),
    Column(
        key="difference_image_error",
        value=lambda row: row.comparison.image_errors.get(row.name, NAN),
    ),
    Column(key="mcnemar_p", value=_read_mcnemar),
    Column(
        key="verdict",
        value=_read_verdict,
        group="{recipe}",
        heading="verdict",
        compact="verdict",
        abbreviations={", within the margin": "*"},
        count="decided_at",
    ),
    Column(
        key="decided_at",
        value=lambda row: row.comparison.path.decided_at.get(row.name, NAN),
        group="{recipe}",
        heading="decided at n",
        format="{:.0f}",
        is_present=lambda rows: len(rows[0].comparison.path.question.looks) > 1,
    ),
)
"""All columns in order, except the names and settings of the rows."""
