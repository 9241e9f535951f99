"""The files of a recording of attention: its records, and everything derived from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.attention import (
    ATTENTION,
    RECORDS,
    Analysis,
    Recording,
    analyse_recording,
    read_recording,
    render_recording,
)
from ablations.figures import Chart, keep_or_draw, list_attention_charts, read_drawing
from ablations.plans import make_key
from ablations.study import Study
from ablations.tables import (
    render_attention_markdown,
    render_interventions_csv,
    render_units_csv,
)


@dataclass(frozen=True, kw_only=True)
class AttentionFiles:
    """A recording with its files."""

    analysis: Analysis
    """What the recording says."""

    charts: Sequence[tuple[Chart, str]]
    """Its figures with their drawings."""

    contents: dict[str, bytes]
    """All files by name."""


def read_attention(folder: Path) -> Recording | None:
    """Reads the recording in a study's folder; None if there is none.

    Raises:
        IncompleteError: If it was edited or damaged.
        MachineError: If it cannot be read.
    """
    path = folder / ATTENTION / RECORDS
    return read_recording(path) if path.is_file() else None


def render_attention(recording: Recording, folder: Path) -> AttentionFiles:
    """Renders all files of a recording; drawings in `folder` that show its data are kept."""
    drawn = {path.name: read_drawing(path) for path in folder.glob("*.svg")}
    analysis = analyse_recording(recording)
    charts = [
        (chart, keep_or_draw(chart, drawn.get(f"{chart.name}.svg", "")))
        for chart in list_attention_charts(analysis)
    ]
    texts = {
        "table.md": render_attention_markdown(analysis),
        "units.csv": render_units_csv(analysis),
        "interventions.csv": render_interventions_csv(analysis),
        **{f"{chart.name}.svg": drawing for chart, drawing in charts},
    }
    contents = {name: text.encode() for name, text in texts.items()}
    return AttentionFiles(
        analysis=analysis,
        charts=charts,
        contents={RECORDS: render_recording(recording), **contents},
    )


def find_misfit(recording: Recording, study: Study) -> str:
    """What makes a recording one of other trials than the study's; empty if it is the study's own.

    It may be of more or fewer seeds than the study shows.
    """
    definition = study.definition
    facts = {row.name: row.facts for row in definition.rows}
    trained = [network for network in recording.networks if network.role == "trained"]
    for variant, seed, source in (
        *((network.variant, network.seed, network.source) for network in trained),
        *((field.variant, field.seed, field.source) for field in recording.fields),
    ):
        if variant not in facts or make_key({**facts[variant], "seed": seed}) != source:
            return (
                f"must be recorded from trials of {definition.experiment} on "
                f"{definition.recipe_name}, got trial {source} of {variant}; run "
                f"`ablations attention {definition.experiment} --recipe {definition.recipe_name}`"
            )
    return ""
