"""Plan, records and printed cells -> the comparison table, as data and as text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from ablations.complexity import Complexity
from ablations.config import PaperRow, PaperTable
from ablations.plan import Plan
from ablations.records import Environment, TrialRecord
from ablations.statistics import compare_with_baseline, summarise


@dataclass(frozen=True, kw_only=True)
class Table:
    """One experiment's comparison, ready to be printed or written."""

    title: str
    """Experiment and recipe."""

    question: str
    """What the table answers."""

    rows: pd.DataFrame
    """One row a variant, in the paper's order; numbers as they are, units in column names."""

    headings: Mapping[str, str]
    """What a reader sees above each column of `rows`, groups before a colon."""

    notes: tuple[str, ...]
    """The foot: what was asked and what became of it, method, footnotes."""


@dataclass(frozen=True, kw_only=True)
class Scales:
    """The two complexities of a variant."""

    paper: Complexity
    """Of the network that the variant names at the paper's scale."""

    trained: Complexity
    """Of the network that is trained."""


def build_table(
    plan: Plan,
    records: Mapping[str, TrialRecord],
    *,
    question: str,
    baseline: str,
    paper_table: PaperTable | None,
    scales: Mapping[str, Scales],
) -> Table:
    """Compares the variants of a plan.

    Args:
        plan: What was asked.
        records: All known records of the experiment's declared trials, by key; of variants that
            were not asked for too, since they belong to the family.
        question: What the table answers.
        baseline: The variant that the others are compared with.
        paper_table: The papers' cells; their rows are found by the variants' names.
        scales: Complexities by variant.
    """
    errors = tabulate_errors(plan, records)
    differences = compare_with_baseline(errors, baseline, family=len(plan.variants) - 1)
    shown = {trial.variant.name for trial in plan.trials if trial.state != "skipped"}
    rows = []
    for variant in plan.variants:
        if variant.name not in shown:
            continue
        printed = paper_table.rows.get(variant.name) if paper_table else None
        row: dict[str, Any] = {"variant": variant.name, **variant.settings}
        row |= _describe_paper(printed) if paper_table else {}
        row |= _describe_complexity(scales[variant.name])
        row |= _describe_errors(errors.get(variant.name))
        row |= {"difference": 0.0 if variant.name == baseline else float("nan")}
        row |= {"difference_half_width": float("nan")}
        if difference := differences.get(variant.name):
            row["difference"] = difference.mean
            row["difference_half_width"] = difference.half_width
        rows.append(row)
    return Table(
        title=f"{plan.experiment}, recipe {plan.recipe_name}",
        question=question,
        rows=pd.DataFrame(rows).set_index("variant"),
        headings={
            key: heading for key, heading in _headings(plan, baseline).items() if key in rows[0]
        },
        notes=tuple(_collect_notes(plan, records, baseline=baseline, paper_table=paper_table)),
    )


def tabulate_errors(plan: Plan, records: Mapping[str, TrialRecord]) -> pd.DataFrame:
    """Top-1 errors (%), a row for each seed and a column for each variant, NaN where unknown.

    A diverged trial has no error.
    """
    cells = {
        (trial.spec.seed, trial.variant.name): records[trial.spec.key].last.top1_error
        for trial in plan.trials
        if trial.spec.key in records and records[trial.spec.key].state == "finished"
    }
    frame = pd.DataFrame(
        index=list(plan.recipe.seeds), columns=[v.name for v in plan.variants], dtype=float
    )
    for (seed, name), error in cells.items():
        frame.loc[seed, name] = error
    return frame.dropna(axis="columns", how="all")


def list_trials(plan: Plan, records: Mapping[str, TrialRecord]) -> pd.DataFrame:
    """One row for each trial that was asked for: the way back from a number to its trials."""
    rows = []
    for trial in plan.trials:
        record = records.get(trial.spec.key)
        row: dict[str, Any] = {
            "trial": trial.spec.key,
            "variant": trial.variant.name,
            "seed": trial.spec.seed,
            "state": trial.state,
            "reason": trial.reason,
        }
        if record is not None:
            row |= {
                "top1_error": record.last.top1_error,
                "top5_error": record.last.top5_error,
                "train_loss": record.last.train_loss,
                "epochs": len(record.epochs),
                "commit": record.environment.commit,
                "dirty": record.environment.dirty,
                "torch": record.environment.torch,
                "device": record.environment.device,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def format_cells(table: Table) -> list[list[str]]:
    """The table's body as texts, a list for each variant, in the order of the headings.

    An interval stands behind its value; the columns that hold half widths are not shown apart.
    """
    return [
        [_format_cell(key, row, str(variant)) for key in table.headings]
        for variant, row in table.rows.iterrows()
    ]


def render_markdown(table: Table) -> str:
    """The table as Markdown, with its question above and its notes below."""
    headings = [heading.replace(": ", ": ") for heading in table.headings.values()]
    lines = [f"# {table.title}", "", table.question, ""]
    lines += [_join(headings), _join(["---"] * len(headings))]
    lines += [_join(cells) for cells in format_cells(table)]
    lines += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def render_csv(table: Table) -> str:
    """The numbers behind the table, unrounded."""
    return str(table.rows.to_csv(lineterminator="\n"))


def _join(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _describe_paper(printed: PaperRow | None) -> dict[str, Any]:
    row = printed or PaperRow()
    return {
        "paper_top1_error": _or_nan(row.top1_error),
        "paper_params_m": _or_nan(row.params_m),
        "paper_gflops": _or_nan(row.gflops),
    }


def _or_nan(value: Decimal | None) -> float:
    return float("nan") if value is None else float(value)


def _describe_complexity(scales: Scales) -> dict[str, Any]:
    return {
        "paper_scale_params_m": scales.paper.params / 1e6,
        "paper_scale_gflops": scales.paper.macs / 1e9,
        "trained_params": scales.trained.params,
        "trained_mflops": scales.trained.macs / 1e6,
    }


def _describe_errors(errors: pd.Series | None) -> dict[str, Any]:
    known = None if errors is None else errors.dropna()
    if known is None or known.empty:
        return {"n": 0} | dict.fromkeys(
            ("top1_error", "top1_error_half_width", "top1_error_std"), float("nan")
        )
    mean = summarise(known)
    return {
        "n": mean.n,
        "top1_error": mean.mean,
        "top1_error_half_width": mean.half_width,
        "top1_error_std": mean.std,
    }


def _headings(plan: Plan, baseline: str) -> dict[str, str]:
    settings = {
        "kernel": "kernel",
        "dilation": "D",
        "groups": "G",
        "resulting_kernel": "resulting kernel",
        "kernels": "kernels",
        "attention": "attention",
        "reduction": "r",
        "L": "L",
    }
    declared = plan.variants[0].settings
    first = {key: settings[key] for key in declared} if declared else {"variant": "variant"}
    measured = f"{plan.recipe_name}"
    return first | {
        "paper_top1_error": "paper: error %",
        "paper_params_m": "paper: params M",
        "paper_gflops": "paper: GFLOPs (multiply-adds)",
        "paper_scale_params_m": "ours, paper's scale: params M",
        "paper_scale_gflops": "ours, paper's scale: GFLOPs (multiply-adds)",
        "trained_params": "trained network: params",
        "trained_mflops": "trained network: MFLOPs (multiply-adds)",
        "n": f"{measured}: n",
        "top1_error": f"{measured}: error %",
        "top1_error_std": f"{measured}: std",
        "difference": f"{measured}: difference from {baseline}",
    }


def _format_cell(key: str, row: pd.Series, variant: str) -> str:
    if key == "variant":
        return variant
    value = row[key]
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return "–"
    formats: dict[str, Callable[[Any], str]] = {
        "paper_top1_error": "{:.2f}".format,
        "paper_params_m": "{:.1f}".format,
        "paper_gflops": "{:.2f}".format,
        "paper_scale_params_m": "{:.2f}".format,
        "paper_scale_gflops": "{:.2f}".format,
        "trained_params": "{:,.0f}".format,
        "trained_mflops": "{:.3f}".format,
        "top1_error": "{:.2f}".format,
        "top1_error_std": "{:.2f}".format,
        "difference": "{:+.2f}".format,
    }
    if key == "difference" and pd.isna(row["difference_half_width"]) and value == 0:
        return "baseline"
    text = formats.get(key, "{:.0f}".format)(value)
    half_width = row.get(f"{key}_half_width", float("nan"))
    return text if pd.isna(half_width) else f"{text} ± {half_width:.2f}"


def _collect_notes(
    plan: Plan,
    records: Mapping[str, TrialRecord],
    *,
    baseline: str,
    paper_table: PaperTable | None,
) -> list[str]:
    count = plan.count()
    parts = " + ".join(f"{n} {state}" for state, n in count.items() if n or state == "finished")
    notes = [f"Trials: {len(plan.trials)} asked = {parts}."]
    notes += [
        f"{trial.variant.name}, seed {trial.spec.seed}: {trial.state}, {trial.reason}."
        for trial in plan.trials
        if trial.state in ("failed", "diverged")
    ]
    if plan.changes:
        notes.append(f"Narrowed or altered: {'; '.join(plan.changes)}.")
    notes.append(
        "Error: top-1 error of the last epoch, percent, mean over n seeds ± its 95 % t-interval. "
        f"Difference: from {baseline}, in points, paired by seed ± the 95 % interval of that one "
        "row with a guarded variance, not corrected over the table. Intervals speak of retraining "
        "on this test set; row intervals may overlap where a difference is clear."
    )
    notes.append(
        "Multiply-adds are the papers' convention: convolutions, fully connected layers and the "
        "rescaling of channels. Parameters are the trainable ones."
    )
    if paper_table:
        notes.append(f"Printed: {paper_table.source}; {paper_table.recipe}.")
        notes += _explain_cells(plan, paper_table)
    notes.append(_describe_origin(plan, records))
    return notes


def _explain_cells(plan: Plan, paper_table: PaperTable) -> list[str]:
    """Why printed complexities differ from ours, cells of the same reason together."""
    cells: dict[str, list[str]] = {}
    for variant in plan.variants:
        row = paper_table.rows.get(variant.name, PaperRow())
        for column, explanation in row.explained.items():
            heading = {"params_m": "params", "gflops": "GFLOPs", "mflops": "MFLOPs"}[column]
            cell = f"{variant.name}: {heading} {getattr(row, column)}"
            cells.setdefault(explanation.reason, []).append(cell)
    return [f"Printed {'; '.join(names)}: {reason}." for reason, names in cells.items()]


def _describe_origin(plan: Plan, records: Mapping[str, TrialRecord]) -> str:
    used = [records[t.spec.key] for t in plan.trials if t.spec.key in records]
    environments = [record.environment for record in used]
    devices = sorted({e.device for e in environments})
    mixed = " (mixed: differences may owe to the device)" if len(devices) > 1 else ""
    commits = sorted({_describe_commit(e) for e in environments})
    torches = sorted({e.torch for e in environments})
    dataset = plan.trials[0].spec.dataset if plan.trials else None
    checksum = (dataset.checksum or "of its listing")[:12] if dataset else "unknown"
    return (
        f"Trained on {', '.join(devices) or 'nothing yet'}{mixed}; torch "
        f"{', '.join(torches) or '–'}; commit {', '.join(commits) or '–'}; dataset "
        f"{plan.recipe.dataset}, SHA-256 {checksum}."
    )


def _describe_commit(environment: Environment) -> str:
    changes = " with changes" if environment.dirty else ""
    return f"{(environment.commit or 'unknown')[:12]}{changes}"
