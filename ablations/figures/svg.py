"""Parses drawings of matplotlib, and rejects whatever a figure does not need."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping

PROLOG = """<?xml version="1.0" encoding="utf-8" standalone="no"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN"
  "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
"""
"""Start of a file from matplotlib; no other declaration is accepted."""

STYLE_SHEET = "*{stroke-linejoin: round; stroke-linecap: butt}"
"""The only accepted style sheet."""

MAX_DEPTH = 32
"""Maximum nesting of elements; matplotlib's is below 10."""

ELEMENTS = frozenset(
    {"svg", "defs", "style", "g", "path", "use", "text", "clipPath", "rect", "pattern", "image"}
)

_ID = r"[\w.-]+"
_PLAIN = re.compile(r"[\w#.,%\s+-]*")
_REFERENCE = "{http://www.w3.org/1999/xlink}href"
_PICTURE = r"data:image/png;base64,[A-Za-z0-9+/=\s]+"
_STYLE_VALUE = rf"(?:url\(#{_ID}\)|[\w#.,%' +-]+)"
ATTRIBUTES: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys(("x", "y", "width", "height", "viewBox", "version"), _PLAIN),
    **dict.fromkeys(("d", "fill", "patternUnits"), _PLAIN),
    "type": re.compile("text/css"),
    "id": re.compile(_ID),
    _REFERENCE: re.compile(rf"#{_ID}|{_PICTURE}"),
    "clip-path": re.compile(rf"url\(#{_ID}\)"),
    "transform": re.compile(r"(?:(?:translate|rotate|scale|matrix)\([\d.,e\s+-]*\)\s*)*"),
    "style": re.compile(rf"(?:[a-z-]+: {_STYLE_VALUE}(?:; |;?$))*"),
}
"""Pattern of each attribute. References stay within the file, or are pictures themselves; no value
can run code."""

_NAMESPACE = "{http://www.w3.org/2000/svg}"
_DECLARATION = re.compile(r"<\?|<!(?!--)")


def parse_svg(text: str) -> ElementTree.Element:
    """Parses a drawing that may become part of a page.

    Returns:
        The root element, with all names stripped of their namespaces.

    Raises:
        ValueError: If it is not XML, or contains anything that a figure does not need.
    """
    content = text.removeprefix(PROLOG)
    if _DECLARATION.search(content):
        raise ValueError("an SVG must hold no declarations but those of matplotlib")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ValueError(f"an SVG must be XML, got {error}") from error
    _check_element(root, depth=1)
    return root


def _check_element(element: ElementTree.Element, *, depth: int) -> None:
    """Checks an element and all elements below it, and strips namespaces."""
    name = element.tag.removeprefix(_NAMESPACE)
    if element.tag == name or name not in ELEMENTS or depth > MAX_DEPTH:
        raise ValueError(f"an SVG must not hold the element {element.tag!r} at depth {depth}")
    if name == "style" and element.text != STYLE_SHEET:
        raise ValueError("an SVG must hold no style sheet but that of matplotlib")
    if (name == "image") != element.get(_REFERENCE, "").startswith("data:"):
        raise ValueError("an SVG must hold pictures in images, and nowhere else")
    for key, value in element.attrib.items():
        if key not in ATTRIBUTES or not ATTRIBUTES[key].fullmatch(value):
            raise ValueError(f"an SVG must not hold the attribute {key!r}, got {value[:60]!r}")
    element.tag = name
    attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    element.attrib.clear()
    element.attrib.update(attributes)
    for child in element:
        _check_element(child, depth=depth + 1)
