"""What all parts of the schema share."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict

LABEL_LENGTH = 120
"""Longest name of a variant or a claim."""


class Strict(BaseModel):
    """Immutable, and a misspelt key is an error rather than a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def wrap_text(value: Any) -> Any:
    """One name as a list of one."""
    return (value,) if isinstance(value, str) else value


def check_label(label: str) -> str:
    """Makes sure that a name shown in tables, figures and terminals fits on one line.

    Raises:
        ValueError: If it is empty, too long, or has a control character or a line break.
    """
    if not (0 < len(label) <= LABEL_LENGTH and label.isprintable()):
        raise ValueError(
            f"a name must be 1 to {LABEL_LENGTH} printable characters, got {label[:LABEL_LENGTH]!r}"
        )
    return label


def suggest(name: str, known: Iterable[str]) -> str:
    """A question for the name that was probably meant; empty if none is close."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
