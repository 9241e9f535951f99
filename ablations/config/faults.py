"""Faults of a user's text: where, what must hold, what was found, what to do."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ablations.config.base import suggest
from ablations.config.schema import (
    Budget,
    Claim,
    Experiment,
    Recipe,
    Statement,
)
from ablations.config.text import Keys
from ablations.config.variants import AttentionSettings, BodySettings, VariantSettings
from sknet.spec import Body, Branch, MobileNetV2Body, ShuffleNetV2Body, Stem

FEW_NAMES = 20
"""As many are told where one of them was probably meant."""

NAME = re.compile(r"\w(?:[\w .,=+-]{0,78}[\w.,=+-])?", re.ASCII)
"""Names of experiments, recipes and bodies; the first two are also names of folders."""

RESERVED_NAME = "readme.md"
"""The index of the results, beside the folders of the experiments."""


@dataclass(frozen=True)
class Fault:
    """One thing that does not hold."""

    keys: Keys
    """Where it stands."""

    rule: str
    """What must hold."""

    found: Any = None
    """What was found; None if the rule says it."""

    hint: str = ""
    """What to do."""

    def text(self) -> str:
        """The fault in one line, with control characters escaped."""
        found = "" if self.found is None else f", got {str(self.found)[:60]!r}"
        line = f"{'.'.join(self.keys)}: {self.rule}{found}{self.hint}"
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def describe_faults(path: Path, faults: Iterable[Fault], lines: Mapping[Keys, int]) -> str:
    """All faults, a line each, in the order in which they stand in the file."""
    placed = sorted((find_line(lines, fault.keys), fault.text()) for fault in faults)
    return "\n".join(f"{path}:{line}: {text}" for line, text in placed)


def find_line(lines: Mapping[Keys, int], keys: Keys) -> int:
    """Line of the longest beginning of `keys` that the file holds."""
    known = (keys[:length] for length in range(len(keys), 0, -1))
    return next((lines[key] for key in known if key in lines), 1)


def parse_fault(fault: Mapping[str, Any], prefix: Keys) -> Fault:
    """A fault as pydantic tells it."""
    keys = (*prefix, *(str(key) for key in fault["loc"]))
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return find_unknown_key(keys, fault["input"], _list_schema_keys())
    rule = fault["msg"].removeprefix("Value error, ")
    says_itself = fault["type"] == "value_error" or isinstance(fault["input"], dict)
    return Fault(keys, rule, None if says_itself else fault["input"])


def find_unknown_key(keys: Keys, found: Any, known: Iterable[str]) -> Fault:
    """The fault of a key that nothing reads."""
    return Fault(keys, "unknown key", found, suggest(keys[-1], known))


def find_bad_name(keys: Keys, name: Any) -> list[Fault]:
    """The fault of a key that cannot name an experiment, a recipe or a body; none if it can."""
    if not isinstance(name, str):
        return [Fault(keys, "a name must be text", str(name), "; quote it")]
    if NAME.fullmatch(name) and name.lower() != RESERVED_NAME:
        return []
    rule = (
        "a name must be 1 to 80 ASCII letters, digits, spaces or any of _.,=+- , start with a "
        "letter, digit or _, not end with a space, and not be README.md"
    )
    return [Fault(keys, rule, name)]


def find_unknown_name(keys: Keys, name: str, known: Iterable[str]) -> list[Fault]:
    """The fault of a name that stands for nothing, if it does."""
    names = sorted(known)
    if name in names:
        return []
    hint = suggest(name, names)
    which = f"{len(names)} names" if hint and len(names) > FEW_NAMES else ", ".join(names)
    return [Fault(keys, f"must be one of {which}", name, hint)]


def _list_schema_keys() -> set[str]:
    models: tuple[type[BaseModel], ...] = (
        Experiment,
        Recipe,
        VariantSettings,
        AttentionSettings,
        BodySettings,
        Claim,
        Statement,
        Budget,
    )
    return (
        {"family"}
        | {name for model in models for name in model.model_fields}
        | {
            field.name
            for cls in (Body, ShuffleNetV2Body, MobileNetV2Body, Branch, Stem)
            for field in fields(cls)
        }
    )
