"""A study -> all that is made of it. A further kind of text is added here, and only here."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ablations.figures import Chart, check_svg, list_charts, render_svg
from ablations.report.html import Page, render_html
from ablations.study.study import Study
from ablations.tables import (
    Table,
    build_table,
    list_curves,
    list_environments,
    list_trials,
    render_csv,
    render_latex,
    render_markdown,
)


def derive(study: Study, drawn: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """The derived texts by file name; equal studies give equal texts, on every machine.

    Args:
        study: What they are derived from.
        drawn: Figures that are there already, by file name. One that shows the study's data is
            kept, since another version of matplotlib would draw other bytes.
    """
    table = build_table(study)
    charts = list_study_charts(study, table)
    drawings = {f"{c.name}.svg": _keep_or_draw(c, drawn.get(f"{c.name}.svg", "")) for c in charts}
    return {
        "table.md": render_markdown(table),
        "table.csv": render_csv(table),
        "table.tex": render_latex(table),
        **drawings,
        "report.html": _render_page(study, table, charts, list(drawings.values())),
    }


def list_study_charts(study: Study, table: Table) -> tuple[Chart, ...]:
    """The figures of a study, not drawn yet.

    Args:
        study: What they show.
        table: The study's, already built.
    """
    return list_charts(
        table.rows,
        list_curves(study),
        baseline=study.definition.baseline,
        recipe_name=study.definition.recipe_name,
        margin=study.definition.margin,
        only_printed=study.definition.only_printed,
    )


def _keep_or_draw(shown: Chart, drawing: str) -> str:
    return drawing if check_svg(drawing, shown) == "current" else render_svg(shown)


def _render_page(
    study: Study, table: Table, charts: Sequence[Chart], drawings: Sequence[str]
) -> str:
    captions = [shown.caption for shown in charts]
    return render_html(
        Page(
            table=table,
            expect=study.definition.expect,
            charts=list(zip(captions, drawings, strict=True)),
            trials=list_trials(study),
            environments=list_environments(study),
            recipe=study.definition.recipe,
        )
    )
