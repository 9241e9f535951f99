"""A chart as an SVG that says what it was drawn from, and as a PNG."""

import hashlib
import re
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Literal

from ablations.figures.charts import Chart
from ablations.figures.svg import parse_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

State = Literal["current", "edited", "stale"]

PNG_DPI = 144
"""Twice a screen's 72 points an inch."""

_STAMP = re.compile(r"<!-- data ([0-9a-f]{64}), drawing ([0-9a-f]{64}) -->\n")
"""The line of an SVG that holds the digests of its data and of all its other lines."""


def draw(chart: Chart) -> "Figure":
    """The chart drawn; a figure of its own, known to no global state."""
    from ablations.figures.drawing import draw_chart  # loads matplotlib, only where it is used

    return draw_chart(chart)


def render_svg(chart: Chart) -> str:
    """The chart as SVG; the same bytes every time with the same version of matplotlib.

    A line holds two digests: of the data, and of the drawing without that line, sealed with the
    first (`check_svg`).
    """
    from ablations.figures.drawing import draw_chart, use_style

    with use_style(), StringIO() as buffer:
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        draw_chart(chart).savefig(buffer, format="svg", metadata=nothing)
        drawing = "".join(line.rstrip() + "\n" for line in buffer.getvalue().splitlines())
    stamp = f"<!-- data {chart.digest}, drawing {_seal(drawing, chart.digest)} -->\n"
    return drawing.replace("</svg>\n", f"{stamp}</svg>\n")


def render_png(chart: Chart) -> bytes:
    """The chart as PNG."""
    from ablations.figures.drawing import draw_chart, use_style

    with use_style(), BytesIO() as buffer:
        figure = draw_chart(chart)
        figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
        return buffer.getvalue()


def check_svg(text: str, chart: Chart) -> State:
    """Whether a drawing is of this data, without drawing it again.

    Other versions of matplotlib draw other bytes of the same data, so bytes are not compared.

    Returns:
        `edited` if the text is not what `render_svg` wrote or holds what no drawing needs, `stale`
        if it was drawn from other data, else `current`.
    """
    stamps = _STAMP.findall(text)
    if len(stamps) != 1:
        return "edited"
    data, drawing = stamps[0]
    if drawing != _seal(_STAMP.sub("", text), data):
        return "edited"
    try:
        parse_svg(text)  # anyone can compute the digests
    except ValueError:
        return "edited"
    return "current" if data == chart.digest else "stale"


def _seal(drawing: str, data: str) -> str:
    """SHA-256 of a drawing without its stamp, and of the digest of what it shows."""
    return hashlib.sha256(f"{data}\n{drawing}".encode()).hexdigest()
