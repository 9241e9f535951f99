"""Style of all figures: colours that colour-blind readers and grey prints tell apart, sizes."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

BLACK, BLUE, ORANGE, GREEN, GREY = "#000000", "#0072B2", "#D55E00", "#009E73", "#6B6B6B"
"""Colours of Okabe and Ito and a grey; always used with a marker, a line style or a word."""

WIDTH = 8.5
"""Width of a figure in inches; 816 pixels in a browser."""

LINE_HEIGHT = 0.16
"""Height of a line of text in inches."""

TITLES: dict[str, Any] = {"fontsize": 9.5, "color": GREY}
"""Style of the titles of panels."""

NAME_WIDTH = 34
"""Maximum number of characters per line of a variant's name."""

SETTINGS: dict[Any, Any] = {  # matplotlib types each key as a literal
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9A9A9A",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "xtick.color": "#9A9A9A",
    "xtick.labelcolor": BLACK,
    "ytick.color": "#9A9A9A",
    "ytick.labelcolor": BLACK,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "text.parse_math": False,  # a dollar in a variant's name is a dollar
    "axes.formatter.useoffset": False,
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and selected
    "svg.hashsalt": "ablations",  # ids are the same every time
}
"""Changes to matplotlib's defaults."""


@contextmanager
def use_style() -> Iterator[None]:
    """Applies this style, ignoring the user's matplotlibrc."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def name_variant(name: str, is_baseline: bool, *, width: int = NAME_WIDTH) -> str:
    """A variant's name, wrapped, and marked if it is the baseline."""
    return fill(f"{name} (baseline)" if is_baseline else name, width)


def count_lines(names: Iterable[str]) -> int:
    """Largest number of lines among wrapped names."""
    return max(name.count("\n") + 1 for name in names)


def label_rows(axes: Axes, names: Sequence[str]) -> None:
    """Labels the rows of a horizontal figure, the first one on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def shade_baseline(axes: Axes, is_baseline: Sequence[bool]) -> None:
    """Shades the baseline's row of a horizontal figure."""
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for place, marked in enumerate(is_baseline):
        if marked:
            axes.axhspan(place - 0.5, place + 0.5, color="#F0F0F0", zorder=0)


def write_beside(axes: Axes, place: float, text: str, *, color: str = BLACK) -> None:
    """Writes a text to the right of a row, outside of the panel."""
    axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", color=color)
