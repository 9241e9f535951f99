"""Studies -> MLflow: their trials, their table, their figures and report."""

from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath

from ablations.figures import render_png
from ablations.plan import Plan
from ablations.report import list_study_charts
from ablations.study.study import Study
from ablations.tables import build_table
from ablations.tracking import Artifact, Mirror

ATTACHED = (".tex", ".html", ".svg")
"""Endings of the derived files that a parent run holds besides the table, which it always does."""


def send_study(plan: Plan, study: Study, files: Mapping[str, bytes], mirror: Mirror) -> None:
    """Queues what MLflow has not got yet; a narrowed study leaves the parent's table alone.

    Args:
        plan: What was asked, with what is known of it now.
        study: What is known.
        files: The study's files by name, as `render_report` gives them.
        mirror: Where they go.
    """
    records = {trial.key: trial.record for trial in study.trials if trial.record}
    mirror.send_records(plan, records, study.scales)
    if study.is_narrowed:
        return
    table = build_table(study)
    pictures = {
        f"{chart.name}.png": Artifact(digest=chart.digest, render=partial(render_png, chart))
        for chart in list_study_charts(study, table)
    }
    attached = {n: c for n, c in files.items() if PurePosixPath(n).suffix in ATTACHED}
    mirror.send_table(plan, table, artifacts={**attached, **pictures})
