"""Faults in YAML files: where they are, what must hold, what was found, and what to do."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ablations.config.schema import LABEL_LENGTH, Budget, Claim, Experiment, Recipe, Statement
from ablations.config.text import Keys
from ablations.config.variants import AttentionSettings, BodySettings, VariantSettings
from ablations.errors import suggest
from ablations.escapes import escape_controls, shorten
from sknet.spec import FAMILIES, Branch, Stem

MOST_FAULTS = 100
"""Most faults that a message lists."""

LONGEST_RULE = 1000
"""Most characters that a message shows of what must hold."""

FEW_NAMES = 20
"""Most names that a message lists when it also suggests one of them."""

NAME_LENGTH = 80
"""Longest name of an experiment, recipe or body."""

NAME = re.compile(rf"(?=.{{1,{NAME_LENGTH}}}$)\w(?:[\w .,=+-]*[\w.,=+-])?", re.ASCII)
"""Names of experiments, recipes and bodies; those of the first two also name folders."""

RESERVED_NAMES = ("readme.md", "benchmarks")
"""Names of what else is in the folder of results: the index, and benchmarks."""


@dataclass(frozen=True)
class Fault:
    """One fault."""

    keys: Keys
    """Path of keys to it."""

    rule: str
    """What must hold."""

    found: Any = None
    """What was found; None if the rule already says so."""

    hint: str = ""
    """What to do; empty if obvious."""

    def text(self) -> str:
        """The fault on one line, with control characters escaped."""
        found = "" if self.found is None else f", got {str(self.found)[:60]!r}"
        place = ".".join(shorten(key, LABEL_LENGTH) for key in self.keys)
        label = f"{place}: " if place else ""
        return escape_controls(f"{label}{shorten(self.rule, LONGEST_RULE)}{found}{self.hint}")


def describe_faults(path: Path, faults: Iterable[Fault], lines: Mapping[Keys, int]) -> str:
    """All faults, one per line, in the order of the file."""
    placed = sorted((find_line(lines, fault.keys), fault.text()) for fault in faults)
    texts = [f"{path}:{line}: {text}" for line, text in placed[:MOST_FAULTS]]
    more = len(placed) - len(texts)
    return "\n".join([*texts, *([f"{path}: {more} more faults"] if more else [])])


def find_line(lines: Mapping[Keys, int], keys: Keys) -> int:
    """Line of the longest prefix of `keys` that is in the file."""
    known = (keys[:length] for length in range(len(keys), 0, -1))
    return next((lines[key] for key in known if key in lines), 1)


def parse_fault(fault: Mapping[str, Any], prefix: Keys) -> Fault:
    """Converts a fault reported by pydantic."""
    keys = (*prefix, *(str(key) for key in fault["loc"]))
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return find_unknown_key(keys, fault["input"], _list_schema_keys())
    rule = fault["msg"].removeprefix("Value error, ")
    is_said = fault["type"] == "value_error" or isinstance(fault["input"], dict)
    return Fault(keys, rule, None if is_said else fault["input"])


def find_unknown_key(keys: Keys, found: Any, known: Iterable[str]) -> Fault:
    """The fault of an unknown key."""
    return Fault(keys, "unknown key", found, suggest(keys[-1], known))


def find_bad_name(keys: Keys, name: Any) -> list[Fault]:
    """The fault of a key that cannot name an experiment, recipe or body, if any."""
    if not isinstance(name, str):
        return [Fault(keys, "a name must be a string", str(name), "; quote it")]
    if NAME.fullmatch(name) and name.lower() not in RESERVED_NAMES:
        return []
    rule = (
        "a name must consist of 1 to 80 ASCII letters, digits, spaces or any of _.,=+- , start "
        "with a letter, digit or _, not end with a space, and not be README.md or benchmarks"
    )
    return [Fault(keys, rule, name)]


def find_unknown_name(keys: Keys, name: str, known: Iterable[str]) -> list[Fault]:
    """The fault of a name that is not known, if any."""
    names = sorted(known)
    if name in names:
        return []
    hint = suggest(name, names)
    which = f"{len(names)} known names" if hint and len(names) > FEW_NAMES else ", ".join(names)
    return [Fault(keys, f"must be one of {which}", name, hint)]


def _list_schema_keys() -> set[str]:
    models: tuple[type[BaseModel], ...] = (
        *(Experiment, VariantSettings, AttentionSettings, BodySettings),
        *(Recipe, Claim, Statement, Budget),
    )
    specs = (*FAMILIES.values(), Branch, Stem)
    return (
        {"family"}
        | {name for model in models for name in model.model_fields}
        | {field.name for spec in specs for field in fields(spec)}
    )
