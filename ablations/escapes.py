"""Text that people wrote, as it is put into terminals, Markdown and CSV without acting there.

LaTeX has its own escapes in `tables/latex.py`; HTML is escaped by jinja2, SVG by matplotlib.
"""

import re
import unicodedata

_CONTROL = ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")
"""Unicode's categories of characters that are invisible and act on what is around them."""

_MARKDOWN = re.compile(
    r"""(\\+)(?=[|<\]])       # a backslash before what is escaped would take the escape away
    |<(?=[A-Za-z/!?])         # begins an element, a comment or a link
    |\](?=[(\[:])             # ends the text of a link or image, or defines one
    |\|                       # ends a cell
    |&(?=\#?\w+;)             # an entity""",
    re.VERBOSE,
)

_FORMULA = re.compile(r"'*[=+\-@\t\r].", re.DOTALL)
"""Cells that a spreadsheet may calculate, also with the quotes that stop it."""


def is_control(character: str) -> bool:
    r"""Whether a character is invisible and acts on what is around it.

    >>> [is_control(character) for character in "a \u00a0\u202e\x1b"]
    [False, False, False, True, True]
    """
    return unicodedata.category(character) in _CONTROL


def escape_controls(text: str, *, keep: str = "") -> str:
    r"""Replaces control characters by their codes in Python.

    >>> escape_controls("a\x1b[2J\nb", keep="\n")
    'a\\x1b[2J\nb'
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or not is_control(c) else repr(c)[1:-1] for c in text)


def shorten(text: str, most: int) -> str:
    """Cuts the end of a text that is longer than `most` characters.

    >>> shorten("abcdef", 6), shorten("abcdefg", 6)
    ('abcdef', 'abc...')
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."


def escape_markdown(text: str) -> str:
    r"""Escapes what would become a cell, an element of HTML or a link; emphasis stays possible.

    >>> escape_markdown("a|b <script> [x](javascript:y) p < 0.05")
    'a\\|b \\<script> [x\\](javascript:y) p < 0.05'
    """
    line = escape_controls(" ".join(text.split()))
    return _MARKDOWN.sub(lambda found: 2 * found[1] if found[1] else f"\\{found[0]}", line)


def escape_formula(text: str) -> str:
    """Puts a quote before a cell that a spreadsheet would calculate.

    >>> [escape_formula(text) for text in ("=1+1", "-", "3x3, D=2")]
    ["'=1+1", '-', '3x3, D=2']
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unescape_formula(text: str) -> str:
    """Reverses `escape_formula`.

    >>> [unescape_formula(escape_formula(text)) for text in ("=1", "'=1", "'", "-")]
    ['=1', "'=1", "'", '-']
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
