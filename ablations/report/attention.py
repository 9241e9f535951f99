"""The files of a recording of attention: its records, and everything derived from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.attention import (
    RECORDS,
    Analysis,
    Recording,
    analyse_recording,
    read_recording,
    render_recording,
)
from ablations.errors import IncompleteError
from ablations.figures import Chart, keep_or_draw, list_attention_charts
from ablations.study import Study
from ablations.tables import (
    render_attention_markdown,
    render_interventions_csv,
    render_units_csv,
)

ATTENTION = "attention"
"""Folder of a recording, inside the folder of its study: no recipe's name can be in its way."""


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
    drawn = {path.name: path.read_text("utf-8", "replace") for path in folder.glob("*.svg")}
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


def check_origin(recording: Recording, study: Study) -> None:
    """Makes sure that a recording is of the study's own trials.

    Raises:
        IncompleteError: If it is of another experiment or recipe, or of trials that are not there.
    """
    definition = study.definition
    there = {trial.key for trial in study.trials}
    trained = [network.source for network in recording.networks if network.role == "trained"]
    measured = [*trained, *(field.source for field in recording.fields)]
    foreign = [source for source in measured if source not in there]
    names = (recording.experiment, recording.recipe_name)
    if foreign or names != (definition.experiment, definition.recipe_name):
        raise IncompleteError(
            f"the attention of {' on '.join(names)} must be that of the trials of "
            f"{definition.experiment} on {definition.recipe_name}, got "
            f"{foreign[0] if foreign else 'another study'}. Run `ablations attention "
            f"{definition.experiment} --recipe {definition.recipe_name}` again."
        )
