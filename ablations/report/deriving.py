"""A study -> the texts that are made of it. A further kind of text is added here, and only here."""

from collections.abc import Mapping
from types import MappingProxyType

from ablations.figures import Chart, check_svg, list_charts, render_svg
from ablations.html import Page, render_html
from ablations.study import Study
from ablations.tables import (
    build_table,
    list_curves,
    list_environments,
    list_trials,
    render_csv,
    render_latex,
    render_markdown,
)


def derive(study: Study, kept: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """The derived texts by file name; equal studies give equal texts, on every machine.

    Args:
        study: What is known.
        kept: Texts that are there already. A figure of the same data is taken over: another
            version of matplotlib would draw other bytes, and loading it takes a second.
    """
    table = build_table(study)
    charts = list_charts(
        table.rows,
        list_curves(study),
        baseline=study.baseline,
        recipe_name=study.recipe_name,
        margin=study.margin,
    )
    figures = {f"{chart.name}.svg": chart for chart in charts}
    drawings = {name: _draw(chart, kept.get(name, "")) for name, chart in figures.items()}
    page = Page(
        table=table,
        expect=study.expect,
        charts=[(figures[name].caption, svg) for name, svg in drawings.items()],
        trials=list_trials(study),
        environments=list_environments(study),
        recipe=study.recipe,
    )
    return {
        "table.md": render_markdown(table),
        "table.csv": render_csv(table),
        "table.tex": render_latex(table),
        **drawings,
        "report.html": render_html(page),
    }


def _draw(chart: Chart, kept: str) -> str:
    return kept if check_svg(kept, chart) == "current" else render_svg(chart)
