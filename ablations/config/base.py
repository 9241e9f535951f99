"""What all parts of the schema share."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Immutable, and a misspelt key is an error rather than a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def wrap_text(value: Any) -> Any:
    """One name as a list of one."""
    return (value,) if isinstance(value, str) else value


def suggest(name: str, known: Iterable[str]) -> str:
    """A question for the name that was probably meant; empty if none is close."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
