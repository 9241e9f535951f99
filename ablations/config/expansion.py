"""Expands axes into variants: a grid of combinations, zipped axes, inclusions, exclusions."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ablations.config.variants import VariantSettings
from ablations.errors import suggest

MOST_VARIANTS = 2000
"""Most variants of an experiment, before exclusions."""

SHORT_NAMES = {"reduction": "r", "min_width": "L"}
"""The papers' symbols for settings, used in the names of variants."""

Axis = Sequence[tuple[str, Any]]
"""Values of one setting, each with its label; values may repeat, as zipped ones do."""

Point = Mapping[str, tuple[str, Any]]
"""One labelled value per axis."""

Combination = tuple[str, Mapping[str, Any]]
"""The name of a generated variant and its settings; keys may be dotted."""


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """The variants that an experiment declares."""

    variants: Mapping[str, VariantSettings]
    """Variants by name in the order of the table: listed ones first, then generated ones."""

    generated: frozenset[str]
    """Names of the variants generated from axes."""

    raw: int
    """Number of variants before exclusions."""

    excluded: tuple[str, ...]
    """Names of the excluded variants."""


def expand(
    listed: Mapping[str, VariantSettings],
    *,
    grid: Mapping[str, Any],
    zipped: Mapping[str, Any],
    include: Sequence[Mapping[str, Any]],
    exclude: Sequence[Mapping[str, Any]],
) -> Expansion:
    """All variants of an experiment.

    Args:
        listed: Variants that are listed one by one.
        grid: Settings with lists of values; every combination is a variant. Keys may be dotted,
            like `block_attention.reduction`; values may be a mapping from labels to values.
        zipped: Settings with equally long lists of values that vary together; crossed with the
            grid.
        include: Additional combinations of settings.
        exclude: Settings, by value or label; combinations that have all of them are left out.

    Raises:
        ValueError: If the axes cannot be combined, a value is impossible, an exclusion matches
            nothing, two variants have the same name, or there are too many.

    >>> grid = {"reduction": [8, 16], "attention": ["sum", "softmax"]}
    >>> less = [{"reduction": 8, "attention": "sum"}]
    >>> expansion = expand({}, grid=grid, zipped={}, include=[], exclude=less)
    >>> list(expansion.variants), expansion.raw
    (['r=8, softmax', 'r=16, sum', 'r=16, softmax'], 4)
    """
    axes = {key: _label(key, values) for key, values in {**grid, **zipped}.items()}
    if both := grid.keys() & zipped.keys():
        raise ValueError(f"grid and zip must vary different settings, got {sorted(both)} in both")
    _check_number(len(listed) + len(include), axes, zipped=list(zipped))
    combinations: list[Combination] = [
        (
            ", ".join(label for label, _ in point.values()),
            {key: value for key, (_, value) in point.items()},
        )
        for point in _combine(axes, zipped=list(zipped))
    ]
    combinations += [
        (", ".join(_name(key, value) for key, value in further.items()), further)
        for further in include
    ]
    dropped = _find_excluded(combinations, axes, exclude)
    kept = [(name, values) for name, values in combinations if name not in dropped]
    names = [name for name, _ in combinations] + [name for name in listed if name not in dropped]
    if repeated := [name for name, number in Counter(names).items() if number > 1]:
        raise ValueError(f"variants must have distinct names, got {repeated} more than once")
    generated = {name: _build(name, values) for name, values in kept}
    return Expansion(
        variants={**listed, **generated},
        generated=frozenset(generated),
        raw=len(listed) + len(combinations),
        excluded=tuple(dropped),
    )


def _check_number(others: int, axes: Mapping[str, Axis], *, zipped: Sequence[str]) -> None:
    """Counts the variants before any is built, since a few axes give millions."""
    free = [len(labels) for key, labels in axes.items() if key not in zipped]
    steps = max((len(axes[key]) for key in zipped), default=1)
    number = others + (math.prod(free) * steps if axes else 0)
    if number > MOST_VARIANTS:
        raise ValueError(f"an experiment may have {MOST_VARIANTS} variants, got {number}")


def _label(key: str, values: Any) -> Axis:
    """The values of an axis with labels: the given ones, or ones derived from the setting."""
    if isinstance(values, Mapping):
        return [(str(label), value) for label, value in values.items()]
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ValueError(f"{key} needs a list of values, or a mapping from labels, got {values}")
    return [(_name(key, value), value) for value in values]


def _name(key: str, value: Any) -> str:
    """The part of a variant's name that shows one setting.

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
    """Every combination of labelled values; the axes in `zipped` vary together."""
    if not axes:
        return
    lengths = {key: len(axes[key]) for key in zipped}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"all settings in zip need the same number of values, got {lengths}")
    rows = zip(*(axes[key] for key in zipped), strict=True)
    steps = [dict(zip(zipped, row, strict=True)) for row in rows]
    free = [key for key in axes if key not in zipped]
    for row in itertools.product(*(axes[key] for key in free)):
        for step in steps or [{}]:
            yield {**dict(zip(free, row, strict=True)), **step}


def _find_excluded(
    combinations: Sequence[Combination],
    axes: Mapping[str, Axis],
    exclude: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Names of the combinations that match an exclusion, in order."""
    dropped: dict[str, None] = {}
    for rule in exclude:
        wanted = {
            key: dict(axes.get(key, ())).get(str(value), value) for key, value in rule.items()
        }
        found = [
            name
            for name, values in combinations
            if all(key in values and values[key] == value for key, value in wanted.items())
        ]
        if not found:
            raise ValueError(f"exclude must match a combination, got no match for {dict(rule)}")
        dropped |= dict.fromkeys(found)
    return list(dropped)


def _build(name: str, values: Mapping[str, Any]) -> VariantSettings:
    """The settings of a combination, with dotted keys nested."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {}) if isinstance(inner, dict) else inner
        if not isinstance(inner, dict) or last in inner:
            raise ValueError(f"{name}: {key} and a part of it cannot both be set")
        inner[last] = value
    try:
        return VariantSettings.model_validate(nested)
    except ValidationError as error:
        reasons = "; ".join(_describe_fault(fault) for fault in error.errors())
        raise ValueError(f"{name} is not a valid variant: {reasons}") from None


def _describe_fault(fault: Mapping[str, Any]) -> str:
    *_, last = keys = [str(key) for key in fault["loc"]]
    if fault["type"] == "extra_forbidden":
        return f"{'.'.join(keys)}: unknown key{suggest(last, VariantSettings.model_fields)}"
    return f"{'.'.join(keys)}: {fault['msg']}"
