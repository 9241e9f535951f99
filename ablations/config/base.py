"""What all parts of the schema share."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Immutable, and a misspelt key is an error rather than a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def wrap_text(value: Any) -> Any:
    """One name as a list of one."""
    return (value,) if isinstance(value, str) else value
