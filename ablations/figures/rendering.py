"""Charts as SVG, with digests of what was drawn, and as PNG."""

import hashlib
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

from ablations.figures.charts import Chart
from ablations.figures.svg import parse_svg
from ablations.files import read_regular

if TYPE_CHECKING:
    from matplotlib.figure import Figure

State = Literal["current", "edited", "stale"]

LARGEST_DRAWING = 2**24
"""Most bytes of a drawing."""

PNG_DPI = 144
"""Twice the 72 points per inch of a screen."""

_STAMP = re.compile(r"<!-- data ([0-9a-f]{64}), drawing ([0-9a-f]{64}) -->\n")
"""The line of an SVG with the digests of its data and of all other lines."""


def draw(chart: Chart) -> "Figure":
    """Draws a chart as a figure that is not part of any global state."""
    from ablations.figures.style import use_style  # loads matplotlib

    function: Callable[[Chart], Figure] = resolve_name(chart.draw)
    with use_style():
        return function(chart)


def render_svg(chart: Chart) -> str:
    """Renders a chart as SVG; one version of matplotlib always gives the same bytes.

    One line has two digests for `check_svg`: of the data, and of the drawing without that line
    together with the first digest.
    """
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    content = _save(chart, format="svg", metadata=nothing).decode()
    drawing = "".join(line.rstrip() + "\n" for line in content.splitlines())
    stamp = f"<!-- data {chart.digest}, drawing {_seal(drawing, chart.digest)} -->\n"
    return drawing.replace("</svg>\n", f"{stamp}</svg>\n")


def read_drawing(path: Path) -> str:
    """A drawing; empty if it is none, so that it is drawn again."""
    try:
        return read_regular(path, most=LARGEST_DRAWING).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def keep_or_draw(chart: Chart, drawing: str) -> str:
    """Returns an existing drawing if it shows the chart's data, else a new one.

    Another version of matplotlib would write other bytes.
    """
    return drawing if check_svg(drawing, chart) == "current" else render_svg(chart)


def render_png(chart: Chart) -> bytes:
    """Renders a chart as PNG."""
    return _save(chart, format="png", dpi=PNG_DPI, metadata={"Software": None})


def _save(chart: Chart, **options: Any) -> bytes:
    from ablations.figures.style import use_style  # loads matplotlib

    with use_style(), BytesIO() as buffer:
        draw(chart).savefig(buffer, **options)
        return buffer.getvalue()


def check_svg(text: str, chart: Chart) -> State:
    """Checks that a drawing shows this data, without drawing it again.

    Bytes are not compared, since versions of matplotlib draw the same data differently.

    Returns:
        `edited` if the text is not what `render_svg` wrote or contains what no drawing needs,
        `stale` if it was drawn from other data, otherwise `current`.
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
    """SHA-256 of a drawing without its digests, together with the digest of its data."""
    return hashlib.sha256(f"{data}\n{drawing}".encode()).hexdigest()
