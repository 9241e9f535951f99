"""Tables inside a README, between two comments that name the file that they are taken from."""

import re
from collections.abc import Callable

_BLOCK = re.compile(
    r"(?P<start><!-- table: (?P<path>\S+) -->\n)(?P<body>.*?)(?P<end><!-- end of table -->)",
    re.DOTALL,
)


def list_blocks(text: str) -> dict[str, str]:
    r"""What stands between the comments, by the path that they name.

    >>> list_blocks("<!-- table: a.md -->\n| 1 |\n<!-- end of table -->")
    {'a.md': '| 1 |\n'}
    """
    return {found["path"]: found["body"] for found in _BLOCK.finditer(text)}


def fill_blocks(text: str, find_body: Callable[[str], str | None]) -> str:
    """The text with its blocks made anew; one without a body stays as it is.

    Args:
        text: With any number of blocks.
        find_body: What belongs into the block of a path; None if nothing is known of it.
    """

    def fill(found: re.Match[str]) -> str:
        body = find_body(found["path"])
        return found["start"] + (found["body"] if body is None else body) + found["end"]

    return _BLOCK.sub(fill, text)


def render_block(markdown: str) -> str:
    """A table's Markdown without its heading: the README has its own."""
    return markdown.partition("\n\n")[2]
