"""An analysis of attention -> the exact data of each of its figures, without drawing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablations.attention import (
    FIELD_ENLARGEMENTS,
    INTERVENTIONS,
    Analysis,
    Role,
    compute_by_size,
    find_middle,
    find_stage,
)
from ablations.figures.charts import DECIMALS, Chart, Selected
from ablations.statistics import measure_effect

ROLES: tuple[Role, ...] = ("trained", "untrained", "shuffled labels")
"""Roles in the order of the keys of figures."""

MOST_CHANNELS = 64
"""Points of the panel of channels; more channels are averaged in successive groups."""

_OVER_SEEDS = "mean over seeds with its 95 % t-interval"


@dataclass(frozen=True, kw_only=True)
class AttentionFigure:
    """Everything that differs between figures."""

    select: Callable[[Analysis], Selected | None]
    """Returns the caption and the data to plot, or None if there is nothing to plot."""

    draw: str
    """Function of `attention_panels` that draws a chart."""


def list_attention_charts(analysis: Analysis) -> tuple[Chart, ...]:
    """The charts of an analysis; a figure that has nothing to plot is left out."""
    return tuple(
        Chart(
            name=name,
            caption=caption,
            data=data.round(DECIMALS),
            draw=f"ablations.figures.attention_panels:{figure.draw}",
        )
        for name, figure in ATTENTION_FIGURES.items()
        if (found := figure.select(analysis)) is not None
        for caption, data in (found,)
    )


def list_stage_ends(units: Sequence[str]) -> list[str]:
    """The last unit of each stage, as the paper shows them.

    >>> list_stage_ends(["SK_2_1", "SK_2_2", "SK_3_1"])
    ['SK_2_2', 'SK_3_1']
    """
    return list({find_stage(name): name for name in units}.values())


def _select_depth(analysis: Analysis) -> Selected | None:
    recording = analysis.recording
    rows = []
    for variant in recording.variants:
        networks = recording.select(variant).values()
        for place, unit in enumerate(recording.list_units(variant)):
            for step, enlargement in enumerate(recording.enlargements):
                effect = measure_effect([n.units[place].difference(step) for n in networks])
                rows.append((variant, unit, enlargement, effect.n, effect.mean, effect.half_width))
    columns = ["variant", "unit", "enlargement", "n", "mean", "half_width"]
    caption = (
        "Attention to the largest kernel minus attention to the smallest, unit by unit from the "
        f"stem to the classifier, for test images enlarged about their centre: {_OVER_SEEDS}. "
        "Claimed: the larger the target, the higher the curve, except in the last stage. Changes "
        "are paired by seed in the table, and so more certain than the bars suggest."
    )
    return caption, pd.DataFrame(rows, columns=columns)


def _select_sizes(analysis: Analysis) -> Selected | None:
    recording = analysis.recording
    found = [
        frame.assign(variant=variant, role=role)
        for variant in recording.variants
        for role in ROLES
        if len(frame := compute_by_size(recording, variant, role))
    ]
    if not found:
        return None
    data = pd.concat(found, ignore_index=True)
    shown = {v: list_stage_ends(recording.list_units(v)) for v in recording.variants}
    is_shown = [unit in shown[v] for v, unit in zip(data["variant"], data["unit"], strict=True)]
    data = data[is_shown]
    known = {
        (unit.variant, unit.unit, role): effect.mean
        for unit in analysis.units
        for role, effect in unit.correlations.items()
    }
    keys = zip(data["variant"], data["unit"], data["role"], strict=True)
    data = data.assign(correlation=[known.get(key, np.nan) for key in keys])
    caption = (
        "Attention to the largest kernel minus attention to the smallest, against the size of the "
        f"object in the image: {_OVER_SEEDS} (bands). In the panels: mean rank correlation over "
        "images of the trained networks (r) and of each control; that of one untrained network may "
        "be close to 1 or to -1, although its attention hardly moves."
    )
    return caption, data.reset_index(drop=True)


def _select_interventions(analysis: Analysis) -> Selected | None:
    if not analysis.interventions:
        return None
    rows = [
        {
            "variant": result.variant,
            "intervention": INTERVENTIONS[result.intervention],
            "n": result.error.n,
            "top1_error_percent": result.error.mean,
            "difference_points": result.difference.mean,
            "half_width_points": result.difference.half_width,
            "margin_points": analysis.recording.margin,
            "verdict": result.verdict.text if result.verdict else "",
        }
        for result in analysis.interventions
    ]
    caption = (
        "Top-1 error with replaced selection weights minus that of the intact network, paired by "
        "seed; bars are 95 % intervals of one row. Verdicts are corrected over all rows. Shaded: "
        f"the margin of ±{analysis.recording.margin:g} points. The axis is linear up to 1 point "
        "and logarithmic beyond."
    )
    return caption, pd.DataFrame(rows)


def _select_classes(analysis: Analysis) -> Selected | None:
    recording = analysis.recording
    rows = []
    for variant in recording.variants:
        networks = list(recording.select(variant).values())
        names = recording.list_units(variant)
        for unit in list_stage_ends(names):
            records = [network.units[names.index(unit)] for network in networks]
            first, second = (
                np.array([record.by_class[step] for record in records], float).mean(axis=0)
                for step in (0, 1)
            )
            rows += [
                (variant, unit, label, len(networks), x, y)
                for label, (x, y) in enumerate(zip(first, second, strict=True))
                if not np.isnan(x)
            ]
    columns = ["variant", "unit", "class", "n", "not_enlarged", "enlarged"]
    enlargement = recording.enlargements[1]
    caption = (
        "Attention to the largest kernel minus attention to the smallest, one point per class, at "
        f"{enlargement:g}x against 1x; mean over seeds. Above the line, attention moves to the "
        "larger kernel as the image is enlarged."
    )
    return caption, pd.DataFrame(rows, columns=columns)


def _select_shares(analysis: Analysis) -> Selected | None:
    """Shares of all kernels, for variants with more than two, which one difference cannot show."""
    recording = analysis.recording
    rows = []
    for variant in recording.variants:
        networks = list(recording.select(variant).values())
        names = recording.list_units(variant)
        for unit in list_stage_ends(names):
            records = [network.units[names.index(unit)] for network in networks]
            if len(records[0].extents) < 3 or not records[0].by_size:
                continue
            shares = np.mean([record.by_size for record in records], axis=0)
            rows += [
                (variant, unit, size, extent, len(networks), share)
                for size, own in zip(sorted(recording.sizes), shares, strict=True)
                for extent, share in zip(records[0].extents, own, strict=True)
            ]
    if not rows:
        return None
    columns = ["variant", "unit", "object_size", "extent", "n", "share"]
    caption = (
        "Attention to each of three or more kernels against the size of the object: mean over "
        "images, channels and seeds."
    )
    return caption, pd.DataFrame(rows, columns=columns)


def _select_fields(analysis: Analysis) -> Selected | None:
    """Maps of the first seed of every variant."""
    parts = []
    radii = {(own.variant, own.unit): own.radii for own in analysis.fields}
    seen: set[tuple[str, str, float]] = set()
    for field in analysis.recording.fields:
        key = (field.variant, field.unit, field.enlargement)
        if key in seen:
            continue
        seen.add(key)
        levels = bytes.fromhex(field.energy)
        mean = radii[field.variant, field.unit][FIELD_ENLARGEMENTS.index(field.enlargement)].mean
        frame = pd.DataFrame({"place": range(len(levels)), "value": list(levels)})
        parts.append(
            frame.assign(
                variant=field.variant,
                unit=field.unit,
                enlargement=field.enlargement,
                radius_pixels=mean,
            )
        )
    if not parts:
        return None
    caption = (
        "Effective receptive fields of the last operator of each stage: size of the gradient of "
        "the centre of its output at every pixel, relative to the largest; one seed. Above each: "
        "radius in pixels that holds half of the energy, mean over seeds."
    )
    return caption, pd.concat(parts, ignore_index=True)


def _select_montage(analysis: Analysis) -> Selected | None:
    """Pictures, differences by unit and attention by channel, all in long form."""
    recording = analysis.recording
    variant = recording.variants[0]
    names = recording.list_units(variant)
    middle = names[find_middle(names)]
    parts = []
    for example in recording.examples:
        size = "" if example.object_size is None else f", object of {example.object_size} pixels"
        title = f"test image {example.index}{size}"
        for step, enlargement in enumerate(recording.enlargements):
            levels = bytes.fromhex(example.pictures[step])
            channels = average_channels(example.channels[variant][step])
            parts += [
                _make_part(title, enlargement, "picture", map(str, range(len(levels))), levels),
                _make_part(
                    title, enlargement, "difference", names, example.differences[variant][step]
                ),
                _make_part(title, enlargement, middle, map(str, range(len(channels))), channels),
            ]
    if not parts:
        return None
    seed = next(iter(recording.select(variant)))
    caption = (
        f"Test images, enlarged about their centre, and the attention of one network, {variant} "
        f"with seed {seed}: attention to the largest kernel minus attention to the smallest, by "
        f"unit; attention to the largest kernel in {middle}, by channel."
    )
    return caption, pd.concat(parts, ignore_index=True)


def _make_part(
    title: str, enlargement: float, kind: str, places: object, values: Sequence[float]
) -> pd.DataFrame:
    frame = pd.DataFrame({"place": list(places), "value": list(values)})  # type: ignore[call-overload]
    return frame.assign(image=title, enlargement=enlargement, kind=kind)


def average_channels(channels: Sequence[float]) -> list[float]:
    """Averages successive channels, so that at most `MOST_CHANNELS` values are left.

    >>> average_channels([1.0, 2.0, 3.0])
    [1.0, 2.0, 3.0]
    """
    groups = np.array_split(np.array(channels), min(len(channels), MOST_CHANNELS))
    return [float(group.mean()) for group in groups]


ATTENTION_FIGURES: Mapping[str, AttentionFigure] = {
    "sizes": AttentionFigure(select=_select_sizes, draw="draw_sizes"),
    "depth": AttentionFigure(select=_select_depth, draw="draw_depth"),
    "interventions": AttentionFigure(select=_select_interventions, draw="draw_interventions"),
    "classes": AttentionFigure(select=_select_classes, draw="draw_classes"),
    "shares": AttentionFigure(select=_select_shares, draw="draw_shares"),
    "fields": AttentionFigure(select=_select_fields, draw="draw_fields"),
    "montage": AttentionFigure(select=_select_montage, draw="draw_montage"),
}
"""Every figure by the stem of its files, in the order of the report."""
