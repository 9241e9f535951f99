"""A study -> the texts that are made of it. A further kind of text is added here, and only here."""

from ablations.study import Study
from ablations.tables import build_table, render_csv, render_markdown


def derive(study: Study) -> dict[str, str]:
    """The derived texts by file name; equal studies give equal texts, on every machine."""
    table = build_table(study)
    return {"table.md": render_markdown(table), "table.csv": render_csv(table)}
