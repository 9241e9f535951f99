"""What a reader in Python sees of a run, or of results."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import pandas as pd

from ablations.errors import IncompleteError
from ablations.figures import list_charts, render_svg
from ablations.study import Study, is_exported, read_export
from ablations.tables import Table, build_table, format_compact, list_curves, list_trials

SHOWN_FIGURES = ("errors", "differences")
"""Figures that a notebook shows below the table."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything known of one experiment on one recipe, and its table.

    A notebook displays it as the table with its figures.
    """

    study: Study
    """The plain values behind the table: what was asked, trials, complexities."""

    comparison: Table
    """The table as built: rows, headings, claims, notes."""

    folder: Path
    """Where the study is kept: its records, table, figures and report."""

    written: tuple[str, ...] = ()
    """Names of the files in `folder` that this run changed."""

    view: str | None = None
    """Link of the experiment's saved view in MLflow, if it is known."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per variant, indexed by its name; numbers as numbers, as in table.csv."""
        return self.comparison.rows

    @cached_property
    def claims(self) -> pd.DataFrame:
        """One row per claim, indexed by its name: verdict, corrected p-value, scope."""
        columns = ["claim", "verdict", "p_corrected", "scope"]
        judged = [(c.name, c.word, c.p_corrected, c.scope) for c in self.comparison.claims]
        return pd.DataFrame(judged, columns=columns).set_index("claim")

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial: id, variant, seed, state, errors, environment."""
        return list_trials(self.study)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row per epoch of each trial that has ended."""
        return list_curves(self.study)

    def _repr_html_(self) -> str:
        title = f"<h4>{escape(self.comparison.title)}</h4><p>{escape(self.comparison.question)}</p>"
        compact = format_compact(self.comparison)
        shown = pd.DataFrame(compact.rows, columns=list(compact.headings))
        claims = "".join(
            f"<li>{escape(c.name)}: {escape(c.verdict)}</li>" for c in self.comparison.claims
        )
        charts = list_charts(self.study, self.comparison)
        figures = "".join(render_svg(chart) for chart in charts if chart.name in SHOWN_FIGURES)
        return f"{title}{shown.to_html(index=False)}<ul>{claims}</ul>{figures}"


def read_results(folder: Path | str) -> Outcome:
    """The outcome that a folder of results holds; needs neither the ledger nor PyTorch.

    Args:
        folder: Of one experiment on one recipe, such as `results/kernel_combination/quick`.

    Raises:
        IncompleteError: If it holds no results, or they were edited or damaged.
        MachineError: If a file cannot be read.

    Examples:
        >>> read_results("nowhere")
        Traceback (most recent call last):
        ablations.errors.IncompleteError: nowhere must hold the results of an experiment, got none.
    """
    folder = Path(folder)
    if not is_exported(folder):
        raise IncompleteError(f"{folder} must hold the results of an experiment, got none.")
    study = read_export(folder)
    return Outcome(study=study, comparison=build_table(study), folder=folder)


def describe_outcome(outcome: Outcome) -> dict[str, object]:
    """An outcome as plain values, for programs that read JSON."""
    study, table = outcome.study, outcome.comparison
    return {
        "experiment": study.definition.experiment,
        "recipe": study.definition.recipe_name,
        "changes": study.changes,
        "folder": str(outcome.folder),
        "written": outcome.written,
        "matrix": study.definition.matrix_hash,
        "count": study.count(),
        "look": {
            "n": table.path.n,
            "planned": table.path.question.looks,
            "undecided_rows": table.path.open_rows,
            "undecided_claims": [claim.name for claim in table.path.open_claims],
        },
        "rows": json.loads(table.rows.reset_index().to_json(orient="records")),
        "claims": [asdict(claim) | {"verdict": claim.verdict} for claim in table.claims],
        "agreement": asdict(table.agreement) if table.agreement else None,
        "notes": table.notes,
    }
