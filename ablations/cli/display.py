"""What a user sees: results on stdout, progress and messages on stderr."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from ablations.config import Config, PaperTable
from ablations.durations import format_duration
from ablations.ledger import Ledger
from ablations.plan import Plan
from ablations.publication import Publication
from ablations.reconcile import Places, count_scales, estimate_seconds
from ablations.report import count_words
from ablations.study import Scales
from ablations.tables import Table, build_table, format_cells, list_claims
from ablations.verification import Check

# Where nothing tells the width (a file, a pipe), tables are not squeezed into 80 columns.
WIDE = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 180
stdout = Console(highlight=False, width=WIDE)
stderr = Console(stderr=True, highlight=False)


def print_tables(plans: list[Plan], tables: list[Table], *, as_json: bool) -> None:
    """Comparison tables with their notes; as JSON, with the trials behind them."""
    if as_json:
        print_json(
            [
                {
                    **describe_plan(plan),
                    "rows": _list_rows(table),
                    "claims": [asdict(c) | {"verdict": c.verdict} for c in table.claims],
                    "notes": table.notes,
                }
                for plan, table in zip(plans, tables, strict=True)
            ]
        )
        return
    for table in tables:
        stdout.print(f"\n[bold]{table.title}[/bold]: {table.question}\n", soft_wrap=True)
        for shown in _lay_out(table):
            stdout.print(shown)
        for claim in list_claims(table):
            stdout.print(f"Claim: {claim}", markup=False, soft_wrap=True)
        for note in table.notes:
            stdout.print(f"- {note}", markup=False, soft_wrap=True)


def _lay_out(table: Table) -> list[RichTable]:
    """The table in one piece, or what was printed and what was measured one below the other."""
    whole = _fill(table, list(table.headings))
    unbounded = stdout.options.update(max_width=1000)
    if stdout.measure(whole, options=unbounded).maximum <= stdout.width:
        return [whole]
    groups = {key: text.partition(":")[0] for key, text in table.headings.items()}
    settings = [key for key, text in table.headings.items() if ":" not in text]
    printed = [key for key, group in groups.items() if group.startswith(("paper", "ours"))]
    measured = [key for key in table.headings if key not in settings + printed]
    return [_fill(table, settings + printed), _fill(table, settings + measured)]


def _fill(table: Table, keys: list[str]) -> RichTable:
    filled = make_table(*("\n".join(wrap(table.headings[key], 11)) for key in keys))
    positions = [list(table.headings).index(key) for key in keys]
    for cells in format_cells(table):
        filled.add_row(*(cells[position] for position in positions))
    return filled


def print_publications(
    publications: Sequence[Publication], others: Sequence[Path], *, as_json: bool
) -> None:
    """What was written anew, folder by folder, with the verdicts."""
    described = [_describe_publication(publication) for publication in publications]
    if as_json:
        print_json({"studies": described, "written": [str(path) for path in others]})
        return
    table = make_table("experiment", "recipe", "trials", "verdicts", "claims", "written")
    for known in described:
        states = ", ".join(f"{number} {state}" for state, number in known["count"].items())
        verdicts, claims = count_words(known["verdicts"]), count_words(known["claims"])
        written = ", ".join(known["written"]) or "nothing: it is as it was"
        table.add_row(known["experiment"], known["recipe"], states, verdicts, claims, written)
    stdout.print(table)
    for path in others:
        stdout.print(f"written: {path}", markup=False, soft_wrap=True)


def _describe_publication(publication: Publication) -> dict[str, Any]:
    study, table = publication.study, build_table(publication.study)
    return {
        "experiment": study.experiment,
        "recipe": study.recipe_name,
        "folder": str(publication.folder),
        "matrix": study.matrix_hash,
        "count": {state: number for state, number in study.count().items() if number},
        "verdicts": [word for word in table.rows["verdict"] if isinstance(word, str)],
        "claims": [claim.word for claim in table.claims],
        "written": publication.changed,
    }


def print_findings(findings: Sequence[str], results_dir: Path, *, as_json: bool) -> None:
    """That all is well, or for a program what is not; people read it as the error."""
    if as_json:
        print_json({"findings": list(findings)})
    elif not findings:
        stdout.print(f"{results_dir}: all is as its records give it.", soft_wrap=True)


def print_checks(tables: Mapping[str, PaperTable], checks: list[Check]) -> None:
    """Printed cells against ours, table by table."""
    for key, table in tables.items():
        stdout.print(f"\n[bold]{key}[/bold]: {table.source} ({table.provenance})\n", soft_wrap=True)
        shown = make_table("row", "cell", "printed", "ours", "difference", "verdict", "reason")
        for check in checks:
            if check.table == key:
                cells = (check.printed, check.ours or "–", check.difference or "")
                shown.add_row(check.row, check.column, *cells, check.verdict, check.reason)
        stdout.print(shown)


def print_plans(
    config: Config, plans: list[Plan], places: Places, ledger: Ledger, *, as_json: bool
) -> None:
    """Every trial with its state, complexity and time."""
    reports = []
    for plan in plans:
        scales = count_scales(config, plan, places)
        seconds = estimate_seconds(plan, scales, ledger)
        if as_json:
            reports.append(describe_plan(plan, scales, seconds))
        else:
            _print_plan(plan, scales, seconds)
    if as_json:
        print_json(reports)


def _print_plan(plan: Plan, scales: Mapping[str, Scales], seconds: Mapping[str, float]) -> None:
    table = make_table(
        "trial", "variant", "seed", "state", "params", "MFLOPs", "paper GFLOPs", "time"
    )
    for trial in plan.trials:
        own = scales[trial.variant.name]
        key = trial.spec.key
        table.add_row(
            key,
            trial.variant.name,
            str(trial.spec.seed),
            f"{trial.state}: {trial.reason}" if trial.reason else trial.state,
            f"{own.trained.params:,}",
            f"{own.trained.macs / 1e6:.3f}",
            f"{own.paper.macs / 1e9:.2f}",
            format_duration(seconds[key]) if key in seconds else "",
        )
    stdout.print(f"\n[bold]{plan.experiment}[/bold], recipe {plan.recipe_name}\n")
    stdout.print(table)
    total, cores = sum(seconds.values()), os.cpu_count() or 1
    parts = ", ".join(f"{number} {state}" for state, number in plan.count().items() if number)
    stdout.print(f"{len(plan.trials)} trials asked: {parts}.")
    if seconds:
        side_by_side = total / min(cores, len(seconds))
        stdout.print(
            f"Estimate: {format_duration(total)} of one core of a CPU, about "
            f"{format_duration(side_by_side)} on the {cores} cores of this machine.",
            soft_wrap=True,
        )


def describe_plan(
    plan: Plan,
    scales: Mapping[str, Scales] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """A plan as plain values, with complexities and estimates where they are known."""
    trials = []
    for trial in plan.trials:
        described: dict[str, Any] = {
            "trial": trial.spec.key,
            "variant": trial.variant.name,
            "seed": trial.spec.seed,
            "state": trial.state,
            "reason": trial.reason,
        }
        if scales:
            described["trained"] = asdict(scales[trial.variant.name].trained)
            described["paper_scale"] = asdict(scales[trial.variant.name].paper)
        if seconds and trial.spec.key in seconds:
            described["estimated_core_seconds"] = round(seconds[trial.spec.key], 1)
        trials.append(described)
    return {
        "experiment": plan.experiment,
        "recipe": plan.recipe_name,
        "changes": plan.changes,
        "count": plan.count(),
        "trials": trials,
    }


def _list_rows(table: Table) -> list[dict[str, Any]]:
    """The table's numbers; JSON has no NaN, so what is unknown is null."""
    rows: list[dict[str, Any]] = json.loads(table.rows.reset_index().to_json(orient="records"))
    return rows


def make_table(*headings: str) -> RichTable:
    """An empty table whose headings are never squeezed."""
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in headings:
        table.add_column(heading, overflow="fold", min_width=max(map(len, heading.split("\n"))))
    return table


def print_json(content: Any) -> None:
    """Plain values for a program to read."""
    stdout.print_json(json.dumps(content))
