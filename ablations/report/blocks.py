"""Tables inside a README, between comments that name the file they are copied from."""

import re
from collections.abc import Callable

_BLOCK = re.compile(
    r"(?P<start><!-- table: (?P<path>\S+) -->\n)(?P<body>.*?)(?P<end><!-- end of table -->)",
    re.DOTALL,
)


def list_blocks(text: str) -> dict[str, str]:
    r"""Text between the comments, by the path that they name.

    >>> list_blocks("<!-- table: a.md -->\n| 1 |\n<!-- end of table -->")
    {'a.md': '| 1 |\n'}
    """
    return {found["path"]: found["body"] for found in _BLOCK.finditer(text)}


def fill_blocks(text: str, find_body: Callable[[str], str | None]) -> str:
    """Replaces the blocks of a text; a block without a new body is unchanged.

    Args:
        text: Text with any number of blocks.
        find_body: Returns the body of a block by its path, or None if it is unknown.
    """

    def fill(found: re.Match[str]) -> str:
        body = find_body(found["path"])
        return found["start"] + (found["body"] if body is None else body) + found["end"]

    return _BLOCK.sub(fill, text)


def render_block(markdown: str) -> str:
    """A table's Markdown without its heading, as the README has its own."""
    return markdown.partition("\n\n")[2]
