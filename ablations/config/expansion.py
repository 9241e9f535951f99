"""Axes -> variants: every combination of a grid, rows of a zip, less what is excluded."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ablations.config.base import suggest
from ablations.config.variants import VariantSettings

SHORT_NAMES = {"reduction": "r", "min_width": "L"}
"""The papers' letters of settings, in the names of variants."""

Axis = Mapping[str, Any]
"""The values of one setting by their labels."""

Point = Mapping[str, str]
"""One label for each axis."""


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """The variants that an experiment declares."""

    variants: Mapping[str, VariantSettings]
    """By name, in the table's order: those written out, then those of the axes."""

    generated: frozenset[str]
    """Names of those that come of axes."""

    raw: int
    """How many there were before anything was excluded."""

    excluded: tuple[str, ...]
    """Names of those that were excluded."""


def expand(
    written: Mapping[str, VariantSettings],
    *,
    grid: Mapping[str, Any],
    zipped: Mapping[str, Any],
    include: Sequence[Mapping[str, Any]],
    exclude: Sequence[Mapping[str, Any]],
) -> Expansion:
    """All variants of an experiment.

    Args:
        written: Variants that are written out.
        grid: Settings with their values, of which every combination is a variant. Keys may be
            dotted, as `block_attention.reduction`; values may be a mapping of labels to values.
        zipped: Settings with their values, which go in step; crossed with the grid.
        include: Further combinations of settings.
        exclude: Settings whose combinations are left out, by value or by label.

    Raises:
        ValueError: If the axes cannot be combined, a value is not possible, an exclusion holds for
            nothing, or two variants have one name.

    >>> grid = {"reduction": [8, 16], "attention": ["sum", "softmax"]}
    >>> less = [{"reduction": 8, "attention": "sum"}]
    >>> expansion = expand({}, grid=grid, zipped={}, include=[], exclude=less)
    >>> list(expansion.variants), expansion.raw
    (['r=8, softmax', 'r=16, sum', 'r=16, softmax'], 4)
    """
    axes = {key: _label(key, values) for key, values in {**grid, **zipped}.items()}
    if twice := grid.keys() & zipped.keys():
        raise ValueError(f"grid and zip must vary different settings, got {sorted(twice)} in both")
    points = list(_combine(axes, zipped=list(zipped)))
    settings = [{key: axes[key][label] for key, label in point.items()} for point in points]
    names = [", ".join(point.values()) for point in points]
    for further in include:
        settings.append(dict(further))
        names.append(", ".join(_name(key, value) for key, value in further.items()))
    dropped = _find_excluded(names, settings, axes, exclude)
    kept = [(name, made) for name, made in zip(names, settings, strict=True) if name not in dropped]
    generated = {name: _build(name, made) for name, made in kept}
    clashes = [name for name in generated if name in written]
    if clashes or len(generated) < len(kept):
        raise ValueError(f"variants must have names of their own, got {clashes or names} twice")
    return Expansion(
        variants={**written, **generated},
        generated=frozenset(generated),
        raw=len(written) + len(names),
        excluded=tuple(dropped),
    )


def _label(key: str, values: Any) -> Axis:
    """An axis' values by label: its own labels, or ones made of the setting's name."""
    if isinstance(values, Mapping):
        return {str(label): value for label, value in values.items()}
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ValueError(f"{key} must have a list of values, or a mapping of labels, got {values}")
    return {_name(key, value): value for value in values}


def _name(key: str, value: Any) -> str:
    """How one setting is told in a variant's name.

    >>> _name("reduction", 8), _name("attention", "sum"), _name("branches", ["K3", "K5"])
    ('r=8', 'sum', 'K3+K5')
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "+".join(str(part) for part in value)
    if isinstance(value, str):
        return value
    last = key.rpartition(".")[2]
    return f"{SHORT_NAMES.get(key, last)}={value}"


def _combine(axes: Mapping[str, Axis], *, zipped: Sequence[str]) -> Iterator[Point]:
    """Every combination of the axes' labels; those of `zipped` go in step."""
    if not axes:
        return
    lengths = {key: len(axes[key]) for key in zipped}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the values of zip must be as many for each setting, got {lengths}")
    rows = zip(*(axes[key] for key in zipped), strict=True)
    steps = [dict(zip(zipped, labels, strict=True)) for labels in rows]
    free = [key for key in axes if key not in zipped]
    for labels in itertools.product(*(axes[key] for key in free)):
        for step in steps or [{}]:
            yield {**dict(zip(free, labels, strict=True)), **step}


def _find_excluded(
    names: Sequence[str],
    settings: Sequence[Mapping[str, Any]],
    axes: Mapping[str, Axis],
    exclude: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Names of the combinations that an exclusion holds for, in order."""
    dropped: dict[str, None] = {}
    for rule in exclude:
        wanted = {key: axes.get(key, {}).get(str(value), value) for key, value in rule.items()}
        found = [
            name
            for name, made in zip(names, settings, strict=True)
            if all(key in made and made[key] == value for key, value in wanted.items())
        ]
        if not found:
            raise ValueError(f"exclude must hold for a combination, got none for {dict(rule)}")
        dropped |= dict.fromkeys(found)
    return list(dropped)


def _build(name: str, made: Mapping[str, Any]) -> VariantSettings:
    """The settings of a combination, dotted keys unfolded."""
    nested: dict[str, Any] = {}
    for key, value in made.items():
        *path, last = key.split(".")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    try:
        return VariantSettings.model_validate(nested)
    except ValidationError as error:
        told = "; ".join(_tell(fault) for fault in error.errors())
        raise ValueError(f"{name} must be possible, got {told}") from None


def _tell(fault: Mapping[str, Any]) -> str:
    *_, last = keys = [str(key) for key in fault["loc"]]
    if fault["type"] == "extra_forbidden":
        return f"{'.'.join(keys)}: unknown key{suggest(last, VariantSettings.model_fields)}"
    return f"{'.'.join(keys)}: {fault['msg']}"
