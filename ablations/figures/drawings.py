"""Drawings of charts: SVG, sealed with the digest of its data, and PNG."""

import hashlib
import pkgutil
import re
from collections.abc import Callable
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Literal

from ablations.figures.charts import FIGURES, Chart
from ablations.figures.svg import parse_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

State = Literal["current", "edited", "stale"]

PNG_DPI = 144
"""Twice the 72 points per inch of a screen."""

_STAMP = re.compile(r"<!-- data ([0-9a-f]{64}), drawing ([0-9a-f]{64}) -->\n")
"""The line of an SVG with the digests of its data and of all its other lines."""


def draw(chart: Chart) -> "Figure":
    """Draws a chart as a new figure, without touching matplotlib's global state."""
    from ablations.figures.style import use_style  # imports matplotlib, which is slow

    draw_chart: Callable[[Chart], Figure] = pkgutil.resolve_name(FIGURES[chart.name].drawing)
    with use_style():
        return draw_chart(chart)


def render_svg(chart: Chart) -> str:
    """Renders a chart as SVG; the same version of matplotlib always writes the same bytes.

    One line contains two digests for `check_svg`: that of the data, and that of the other lines
    together with the first digest.
    """
    from ablations.figures.style import use_style  # imports matplotlib, which is slow

    with use_style(), StringIO() as buffer:
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        draw(chart).savefig(buffer, format="svg", metadata=nothing)
        drawing = "".join(line.rstrip() + "\n" for line in buffer.getvalue().splitlines())
    stamp = f"<!-- data {chart.digest}, drawing {_seal(drawing, chart.digest)} -->\n"
    return drawing.replace("</svg>\n", f"{stamp}</svg>\n")


def render_png(chart: Chart) -> bytes:
    """Renders a chart as PNG."""
    from ablations.figures.style import use_style  # imports matplotlib, which is slow

    with use_style(), BytesIO() as buffer:
        draw(chart).savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
        return buffer.getvalue()


def check_svg(text: str, chart: Chart) -> State:
    """Checks whether a drawing shows this data, without drawing it again.

    Bytes are not compared, since other versions of matplotlib write other bytes for the same data.

    Returns:
        `edited` if the text is not what `render_svg` wrote or contains what no drawing needs,
        `stale` if it was drawn from other data, else `current`.
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
    """SHA-256 of a drawing without its stamp together with the digest of its data."""
    return hashlib.sha256(f"{data}\n{drawing}".encode()).hexdigest()
