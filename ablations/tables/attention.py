"""An analysis of attention -> its table with verdicts and notes as Markdown, and as CSV."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from ablations.attention import (
    CHANGE_MARGIN,
    CORRELATION_MARGIN,
    FIELD_ENLARGEMENTS,
    INTERVENTIONS,
    Analysis,
    FieldResult,
    InterventionResult,
    Recording,
    UnitResult,
)
from ablations.statistics import CORRECTION, Difference, Judgement
from ablations.statistics.claims import Evidence
from ablations.tables.columns import UNKNOWN
from ablations.tables.texts import DIGITS, render_grid


def render_attention_markdown(analysis: Analysis) -> str:
    """Renders units, interventions, claims and notes."""
    recording = analysis.recording
    title = " on ".join(filter(None, [recording.experiment, recording.recipe_name]))
    lines = [
        f"# {title}: attention to the larger kernel",
        "",
        "Does the network look with larger kernels at larger objects, and does it matter that it "
        "chooses?",
        "",
        "Attention to the largest kernel minus attention to the smallest, averaged over channels:",
        "",
        *render_grid(_list_headings(recording), map(_format_unit, analysis.units)),
    ]
    if analysis.interventions:
        headings = ("variant", "selection weights", "top-1 error", "difference", "verdict", "n")
        lines += ["", "Top-1 error in percent if the selection weights are replaced by others:", ""]
        lines += render_grid(headings, _list_interventions(analysis))
    if analysis.fields:
        steps = (f"radius at {own:g}x" for own in FIELD_ENLARGEMENTS)
        lines += ["", "Effective receptive field, radius in pixels that holds half its energy:", ""]
        lines += render_grid(
            ("place", "variant", *steps, "change", "n"), map(_format_field, analysis.fields)
        )
    if analysis.claims:
        lines += ["", "Claims of the paper:", ""]
        lines += [f"- {claim}" for claim in list_attention_claims(analysis)]
    lines += ["", "Notes:", "", *(f"- {note}" for note in list_attention_notes(analysis))]
    return "\n".join(lines) + "\n"


def render_units_csv(analysis: Analysis) -> str:
    """Renders the numbers of all units as CSV, with the digits that all machines share."""
    rows = []
    for unit in analysis.units:
        row = {"variant": unit.variant, "unit": unit.unit, "n": unit.difference.n}
        for name, effect in _list_effects(unit, analysis.recording.enlargements):
            row |= _spread(name, effect)
        rows.append({**row, "difference_image_half_width": unit.image_half_width})
    return _render_csv(rows)


def render_interventions_csv(analysis: Analysis) -> str:
    """Renders the errors under all interventions as CSV."""
    rows = [
        {
            "variant": result.variant,
            "intervention": result.intervention,
            "n": result.error.n,
            "top1_error": result.error.mean,
            **_spread("difference", result.difference),
            "p_corrected": result.difference.p_corrected,
            "verdict": result.verdict.text if result.verdict else "",
        }
        for result in analysis.interventions
    ]
    return _render_csv(rows)


def list_attention_claims(analysis: Analysis) -> list[str]:
    """Lists the claims with verdict, scope and evidence, one line per claim."""
    return [_describe_claim(claim) for claim in analysis.claims]


def list_attention_notes(analysis: Analysis) -> list[str]:
    """Lists how the numbers were measured and tested, and what they cannot say."""
    return list(_iterate_notes(analysis))


def _list_headings(recording: Recording) -> tuple[str, ...]:
    changes = (f"change at {e:g}x" for e in recording.enlargements[1:])
    controls = ("rank correlation with size", "untrained", "shuffled labels", "gain by training")
    return ("variant", "unit", "kernels", "not enlarged", *changes, *controls, "n")


def _format_unit(unit: UnitResult) -> list[str]:
    roles = [unit.correlations.get(role) for role in ("trained", "untrained", "shuffled labels")]
    return [
        unit.variant,
        unit.unit,
        " + ".join(f"{extent}x{extent}" for extent in unit.extents),
        _format(unit.difference, digits=3),
        *(_format(change, digits=3) for change in unit.changes),
        *(_format(effect, digits=2) for effect in (*roles, unit.gain)),
        str(unit.difference.n),
    ]


def _list_interventions(analysis: Analysis) -> Iterator[list[str]]:
    for variant, errors in analysis.intact.items():
        mean = errors[0]
        yield [variant, "its own", f"{mean.mean:.2f}", "", "", str(mean.n)]
        for result in analysis.interventions:
            if result.variant == variant:
                yield _format_intervention(result)


def _format_intervention(result: InterventionResult) -> list[str]:
    return [
        result.variant,
        INTERVENTIONS[result.intervention],
        f"{result.error.mean:.2f}",
        _format(result.difference, digits=2),
        result.verdict.text if result.verdict else "no verdict",
        str(result.error.n),
    ]


def _format_field(field: FieldResult) -> list[str]:
    radii = (_format(radius, digits=2).removeprefix("+") for radius in field.radii)
    change = _format(field.change, digits=2)
    return [field.unit, field.variant, *radii, change, str(field.change.n)]


def _describe_claim(claim: Judgement) -> str:
    parts = ", ".join(map(_describe_part, claim.parts))
    return f"{claim.name}: {claim.verdict}; {parts}"


def _describe_part(part: Evidence) -> str:
    interval = "" if part.half_width is None else f" ± {part.half_width:.3f}"
    return f"{part.statement} {part.difference or 0.0:+z.3f}{interval}"


def _iterate_notes(analysis: Analysis) -> Iterator[str]:
    recording = analysis.recording
    yield (
        f"Measured on the {recording.test_images} test images of {recording.dataset}, on "
        f"{recording.environment.device}, torch {recording.environment.torch}. ± is half the width "
        "of a 95 % t-interval over seeds, over retraining on this test set, for one row; the "
        "interval over images of a single network is at most "
        f"± {max(unit.image_half_width for unit in analysis.units):.3f}."
    )
    yield (
        "Enlargement shows the centre of each image, resized, as in the paper. It also cuts off "
        "objects that are not at the centre: "
        + "; ".join(_describe_enlargement(name, recording, analysis) for name in analysis.intact)
        + "."
    )
    yield _describe_sizes(analysis)
    yield from _describe_tests(recording.margin)
    if analysis.fields:
        yield (
            "The energy of a pixel is the squared gradient of the centre of an operator's output, "
            "summed over channels and images; 3_4 is the place of SK_3_4. The disc is about the "
            "energy's centroid."
        )
    for reason in dict.fromkeys(recording.skipped.values()):
        names = ", ".join(name for name, own in recording.skipped.items() if own == reason)
        yield f"The attention of {names} is not recorded: {reason}."


def _describe_sizes(analysis: Analysis) -> str:
    recording = analysis.recording
    if not recording.sizes:
        return f"{recording.dataset} does not know the sizes of its objects."
    return (
        "Rank correlation is Spearman's, over images that are not enlarged, between the "
        "difference and the size of the object. Untrained is the same network before training. "
        + _describe_shuffled(analysis)
    )


def _describe_tests(margin: float) -> Iterator[str]:
    yield (
        "Interventions act on all units at once. Differences are paired by seed with the intact "
        "network; each row is tested by its own spread, since forcing a kernel varies far more "
        f"than freezing the weights; {CORRECTION.name} over all rows, margin ± {margin:g} points."
    )
    yield (
        "Claims: every unit must pass a one-sided test at 2.5 %; contradicted, if any unit passes "
        f"the reverse test ({CORRECTION.name} over units); {CORRECTION.name} over claims. A rise "
        f"is none below {CHANGE_MARGIN:g} of attention or {CORRELATION_MARGIN:g} of rank "
        "correlation."
    )


def _describe_enlargement(variant: str, recording: Recording, analysis: Analysis) -> str:
    pairs = zip(recording.enlargements, analysis.intact[variant], strict=True)
    errors = ", ".join(f"{error.mean:.1f} % at {enlargement:g}x" for enlargement, error in pairs)
    return f"the error of {variant} is {errors}"


def _describe_shuffled(analysis: Analysis) -> str:
    known = [u.correlations.get("shuffled labels") for u in analysis.units]
    numbers = [effect.n for effect in known if effect]
    if not numbers:
        return (
            "No network of these was trained on shuffled labels; a run with "
            "`--set shuffled_labels=true` trains some."
        )
    return f"Networks on shuffled labels: n = {min(numbers)}" + (
        f" to {max(numbers)}." if min(numbers) < max(numbers) else "."
    )


def _format(effect: Difference | None, *, digits: int) -> str:
    if effect is None:
        return UNKNOWN
    interval = "" if np.isnan(effect.half_width) else f" ± {effect.half_width:.{digits}f}"
    return f"{round(effect.mean, DIGITS):+z.{digits}f}{interval}"


def _list_effects(
    unit: UnitResult, enlargements: Sequence[float]
) -> Iterator[tuple[str, Difference]]:
    """What is known of a unit over seeds, by the name of its column."""
    yield "difference", unit.difference
    for enlargement, change in zip(enlargements[1:], unit.changes, strict=True):
        yield f"change_at_{enlargement:g}x", change
    for role, correlation in unit.correlations.items():
        yield f"correlation_{role.replace(' ', '_')}", correlation


def _spread(name: str, effect: Difference) -> dict[str, float]:
    return {name: effect.mean, f"{name}_half_width": effect.half_width}


def _render_csv(rows: list[dict[str, object]]) -> str:
    frame = pd.DataFrame(rows)
    return str(frame.to_csv(index=False, lineterminator="\n", float_format=f"%.{DIGITS}g"))
