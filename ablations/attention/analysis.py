"""What a recording says over seeds: by enlargement and object size, and under interventions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from ablations.attention.records import (
    INTERVENTIONS,
    Intervention,
    NetworkRecord,
    Recording,
    Role,
    UnitRecord,
    find_stage,
)
from ablations.config import FEWEST_SEEDS
from ablations.statistics import (
    CORRECTION,
    Difference,
    Judgement,
    Mean,
    Verdict,
    decide,
    judge_evidence,
    measure_effect,
    summarise,
)
from ablations.statistics.claims import Evidence

CHANGE_MARGIN = 0.02
"""A change of the difference below it is none: attention moves by a hundredth from one kernel to
the other."""

CORRELATION_MARGIN = 0.1
"""A rank correlation below it is none."""

NORMAL_QUANTILE = 1.96
"""Half the width in standard errors of a 95 % interval over thousands of images."""


@dataclass(frozen=True, kw_only=True)
class UnitResult:
    """One unit of a variant, over seeds."""

    variant: str
    """Name of the variant."""

    unit: str
    """Name of the unit."""

    extents: tuple[int, ...]
    """Side in pixels of the square that each branch's kernel covers."""

    is_last: bool
    """Whether it is in the last stage."""

    difference: Difference
    """Attention to the largest kernel minus that to the smallest, not enlarged."""

    image_half_width: float
    """Half the width of the 95 % interval over images of that difference, the widest of a network.
    """

    changes: tuple[Difference, ...]
    """How far it moves at each enlargement after the first."""

    correlations: Mapping[Role, Difference]
    """Rank correlation with the size of the object; without roles for which it is unknown."""

    gain: Difference | None
    """Rank correlation after training minus that before it, paired by seed; None if unknown."""


@dataclass(frozen=True, kw_only=True)
class InterventionResult:
    """A variant under one intervention, over seeds."""

    variant: str
    """Name of the variant."""

    intervention: Intervention
    """What replaces the selection weights."""

    error: Mean
    """Top-1 error in percent."""

    difference: Difference
    """Error minus that of the intact network, paired by seed; corrected over all interventions."""

    verdict: Verdict | None
    """Whether the intact network is better; None for a single seed."""


@dataclass(frozen=True, kw_only=True)
class FieldResult:
    """The effective receptive field of one operator of a variant, over seeds."""

    variant: str
    """Name of the variant."""

    unit: str
    """Stage and position of the operator."""

    radii: tuple[Difference, ...]
    """Radius in pixels that holds half of the energy, at each enlargement."""

    change: Difference
    """How far the radius grows from the first enlargement to the last."""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything that is derived from a recording."""

    recording: Recording
    """What was recorded."""

    units: tuple[UnitResult, ...]
    """By variant, in the order in which they run."""

    intact: Mapping[str, tuple[Mean, ...]]
    """Top-1 error in percent of the trained networks at each enlargement, by variant."""

    interventions: tuple[InterventionResult, ...]
    """By variant."""

    fields: tuple[FieldResult, ...]
    """Receptive fields by stage, then by variant."""

    claims: tuple[Judgement, ...]
    """The paper's statements, variant by variant."""


def analyse_recording(recording: Recording) -> Analysis:
    """Analyses a recording over its seeds."""
    units = tuple(
        result for variant in recording.variants for result in _analyse_units(recording, variant)
    )
    return Analysis(
        recording=recording,
        units=units,
        intact={variant: _summarise_errors(recording, variant) for variant in recording.variants},
        interventions=_judge_interventions(recording),
        fields=tuple(_summarise_fields(recording)),
        claims=judge_evidence(dict(_list_claims(units)), scope=_describe_scope(recording)),
    )


def compute_by_size(recording: Recording, variant: str, role: Role) -> pd.DataFrame:
    """The difference by size of the object, over seeds.

    Returns:
        One row per unit and size: columns unit, object_size, n, mean, half_width; empty if there is
        no such network or no size is known.
    """
    networks = recording.select(variant, role)
    rows = [
        (unit, size, *_describe([own.subtract(own.by_size[place]) for own in units]))
        for unit, units in _group_units(networks)
        if units[0].by_size
        for place, size in enumerate(sorted(recording.sizes))
    ]
    return pd.DataFrame(rows, columns=["unit", "object_size", "n", "mean", "half_width"])


def _describe(values: Sequence[float]) -> tuple[int, float, float]:
    """Number, mean, and half the width of the t-interval."""
    effect = measure_effect(values)
    return effect.n, effect.mean, effect.half_width


def _group_units(
    networks: Mapping[int, NetworkRecord],
) -> Iterator[tuple[str, list[UnitRecord]]]:
    """Every unit with its records by seed."""
    for units in zip(*(network.units for network in networks.values()), strict=True):
        yield units[0].name, list(units)


def _analyse_units(recording: Recording, variant: str) -> Iterator[UnitResult]:
    roles: tuple[Role, ...] = ("trained", "untrained", "shuffled labels")
    networks = {role: recording.select(variant, role) for role in roles}
    names = recording.list_units(variant)
    last = find_stage(names[-1])
    for place, (name, units) in enumerate(_group_units(networks["trained"])):
        correlations = {role: _list_correlations(networks[role], place) for role in roles}
        before, after = correlations["untrained"], correlations["trained"]
        gains = [after[seed] - before[seed] for seed in after if seed in before]
        yield UnitResult(
            variant=variant,
            unit=name,
            extents=units[0].extents,
            is_last=find_stage(name) == last,
            difference=measure_effect([unit.difference(0) for unit in units]),
            image_half_width=NORMAL_QUANTILE
            * max(unit.deviations[0] for unit in units)
            / recording.test_images**0.5,
            changes=tuple(
                measure_effect([unit.change(enlargement) for unit in units])
                for enlargement in range(1, len(recording.enlargements))
            ),
            correlations={
                role: measure_effect(list(known.values()))
                for role, known in correlations.items()
                if known
            },
            gain=measure_effect(gains) if gains else None,
        )


def _list_correlations(networks: Mapping[int, NetworkRecord], place: int) -> dict[int, float]:
    """Rank correlations of the unit at a place, by seed."""
    known = {seed: network.units[place].correlation for seed, network in networks.items()}
    return {seed: value for seed, value in known.items() if value is not None}


def _summarise_errors(recording: Recording, variant: str) -> tuple[Mean, ...]:
    networks = recording.select(variant).values()
    return tuple(
        summarise(pd.Series(own)) for own in zip(*(n.errors for n in networks), strict=True)
    )


def _judge_interventions(recording: Recording) -> tuple[InterventionResult, ...]:
    """Compares every intervention with the intact networks, paired by seed."""
    found = [
        (variant, name, [n for n in recording.select(variant).values() if name in n.replaced])
        for variant in recording.variants
        for name in INTERVENTIONS
    ]
    known = [(variant, name, networks) for variant, name, networks in found if networks]
    differences = [
        measure_effect([network.replaced[name] - network.errors[0] for network in networks])
        for _, name, networks in known
    ]
    corrected = CORRECTION.correct([d.p for d in differences], family=len(differences))
    return tuple(
        InterventionResult(
            variant=variant,
            intervention=name,
            error=summarise(pd.Series([network.replaced[name] for network in networks])),
            difference=(tested := replace(difference, p_corrected=float(p))),
            verdict=decide(tested, margin=recording.margin, family=len(known)),
        )
        for (variant, name, networks), difference, p in zip(
            known, differences, corrected, strict=True
        )
    )


def _summarise_fields(recording: Recording) -> Iterator[FieldResult]:
    radii: dict[tuple[str, str], dict[float, dict[int, float]]] = {}
    for field in recording.fields:
        place = radii.setdefault((field.unit, field.variant), {})
        place.setdefault(field.enlargement, {})[field.seed] = field.radius
    for unit in dict.fromkeys(unit for unit, _ in radii):
        for (own, variant), found in radii.items():
            if own == unit:
                first, *_, last = found.values()
                yield FieldResult(
                    variant=variant,
                    unit=unit,
                    radii=tuple(measure_effect([*by_seed.values()]) for by_seed in found.values()),
                    change=measure_effect([last[seed] - first[seed] for seed in first]),
                )


def _list_claims(units: Sequence[UnitResult]) -> Iterator[tuple[str, list[Evidence]]]:
    """The paper's two statements about every variant, by enlargement and by object size."""
    for variant in dict.fromkeys(unit.variant for unit in units):
        own = [unit for unit in units if unit.variant == variant]
        for how, read, margin in _MEASURES:
            known = [(unit, effect) for unit in own if (effect := read(unit)) is not None]
            early = [(u.unit, effect) for u, effect in known if not u.is_last]
            late = [(u.unit, effect) for u, effect in known if u.is_last]
            if early:
                yield (
                    f"{variant}: the larger the {how}, the more attention to the larger kernel "
                    "before the last stage",
                    [_weigh(name, effect, _test_rise) for name, effect in early],
                )
            if late:
                test = partial(_test_no_rise, margin=margin)
                yield (
                    f"{variant}: not so in the last stage, by {how} (a rise below {margin:g})",
                    [_weigh(name, effect, test) for name, effect in late],
                )


_MEASURES: tuple[tuple[str, Callable[[UnitResult], Difference | None], float], ...] = (
    ("enlargement", lambda unit: unit.changes[-1], CHANGE_MARGIN),
    ("object", lambda unit: unit.correlations.get("trained"), CORRELATION_MARGIN),
)
"""What a target's size means, the effect of it, and the effect that counts as none."""


def _weigh(
    unit: str, effect: Difference, test: Callable[[Difference], tuple[float, float]]
) -> Evidence:
    """Tests a statement about one unit."""
    p_for, p_against = 1.0, 1.0
    if effect.n >= FEWEST_SEEDS and effect.is_testable:
        p_for, p_against = test(effect)
    return Evidence(
        statement=unit,
        n=effect.n,
        difference=effect.mean,
        half_width=None if np.isnan(effect.half_width) else effect.half_width,
        p_for=p_for,
        p_against=p_against,
    )


def _test_rise(effect: Difference) -> tuple[float, float]:
    """The effect is above 0; its reverse: below 0."""
    return min(1.0, 2 * effect.p_above(0.0)), min(1.0, 2 * effect.p_below(0.0))


def _test_no_rise(effect: Difference, *, margin: float) -> tuple[float, float]:
    """The effect is below the margin; its reverse: above it."""
    return min(1.0, 2 * effect.p_below(margin)), min(1.0, 2 * effect.p_above(margin))


def _describe_scope(recording: Recording) -> str:
    if not recording.recipe_name:
        return recording.dataset
    return f"{recording.recipe_name}: {recording.dataset}, {recording.body}"
