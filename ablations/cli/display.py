"""What a user sees: results on stdout, progress and messages on stderr."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from ablations.complexity.budget import Distance
from ablations.complexity.scales import Scales
from ablations.complexity.verification import Check
from ablations.config import PaperTable
from ablations.estimate import Estimate, merge_estimates
from ablations.formatting import format_duration, format_share, format_size
from ablations.matrix import Matrix
from ablations.plan import Plan
from ablations.report import count_words
from ablations.report.writing import Publication
from ablations.tables import Table, build_table, format_cells, list_claims

# Where nothing tells the width (a file, a pipe), tables are not squeezed into 80 columns.
WIDE = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 180
stdout = Console(highlight=False, width=WIDE)
stderr = Console(stderr=True, highlight=False)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Complexities of a plan's variants and the estimate of its trials."""

    scales: Mapping[str, Scales]
    """Complexities by variant."""

    distances: Mapping[str, Distance]
    """Distances from the budget's measure by variant; empty if there is no budget."""

    price: Estimate
    """Estimate of the trials to run."""


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
        "experiment": study.definition.experiment,
        "recipe": study.definition.recipe_name,
        "folder": str(publication.folder),
        "matrix": study.definition.matrix_hash,
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


def print_plans(plans: list[Plan], costs: list[Costs], *, as_json: bool) -> None:
    """Every trial with its state, complexity and time, and the price of all."""
    if as_json:
        print_json([describe_plan(plan, cost) for plan, cost in zip(plans, costs, strict=True)])
        return
    for plan, cost in zip(plans, costs, strict=True):
        _print_plan(plan, cost)
    if sum(bool(cost.price.trials) for cost in costs) > 1:
        stdout.print("\n[bold]All together[/bold], trials that are shared once\n")
        _print_price(merge_estimates([cost.price for cost in costs]))


def _print_plan(plan: Plan, costs: Costs) -> None:
    shown = ["trial", "variant", "seed", "state", "params", "MFLOPs", "paper GFLOPs", "time"]
    table = make_table(*shown, *(["from the budget"] if costs.distances else []))
    for trial in plan.trials:
        own = costs.scales[trial.variant.name]
        key = trial.spec.key
        price = costs.price.trials.get(key)
        table.add_row(
            key,
            trial.variant.name,
            str(trial.spec.seed),
            f"{trial.state}: {trial.reason}" if trial.reason else trial.state,
            f"{own.trained.params:,}",
            f"{own.trained.macs / 1e6:.3f}",
            f"{own.paper.macs / 1e9:.2f}",
            format_duration(price.seconds) if price else "",
            *_show_distance(costs, trial.variant.name),
        )
    stdout.print(f"\n[bold]{plan.experiment}[/bold], recipe {plan.recipe_name}\n")
    stdout.print(table)
    stdout.print(_describe_matrix(plan.matrix), markup=False, soft_wrap=True)
    parts = ", ".join(f"{number} {state}" for state, number in plan.count().items() if number)
    stdout.print(f"{len(plan.trials)} trials asked: {parts}.")
    _print_price(costs.price)


def _describe_matrix(matrix: Matrix) -> str:
    """How the variants came about: raw = excluded + duplicates + final."""
    excluded, duplicates = matrix.excluded, matrix.duplicates
    named = "; ".join([*excluded, *duplicates])
    return (
        f"Variants: {matrix.raw} raw = {len(excluded)} excluded + {len(duplicates)} duplicate(s) + "
        f"{len(matrix.variants)} final" + (f"; left out: {named}." if named else ".")
    )


def _show_distance(costs: Costs, variant: str) -> list[str]:
    """The cell of the budget's column, if there is one."""
    if variant not in costs.distances:
        return []
    distance = costs.distances[variant]
    return [format_share(distance.share) + (" (free)" if distance.is_free else "")]


def _print_price(price: Estimate) -> None:
    if price.device is None:
        return
    count, unit = price.device.count, price.device.unit
    where = f"with the {count} {unit}{'s' if count > 1 else ''} of this machine"
    stdout.print(
        f"Time: {format_duration(price.seconds)} of one {unit}, about "
        f"{format_duration(price.wall_seconds)} "
        f"{where if price.side_by_side > 1 else 'one after the other'}; {'; '.join(price.basis)}.",
        markup=False,
        soft_wrap=True,
    )
    parts = [
        f"records {format_size(price.record_bytes)}",
        f"checkpoints while it runs {format_size(price.checkpoint_bytes)}",
        *(f"dataset {name} {format_size(size)}" for name, size in price.datasets.items()),
    ]
    stdout.print(f"Disk: {format_size(price.disk_bytes)}: {', '.join(parts)}.", soft_wrap=True)


def describe_plan(plan: Plan, costs: Costs | None = None) -> dict[str, Any]:
    """A plan as plain values, with what it costs if that is known."""
    trials = []
    for trial in plan.trials:
        described: dict[str, Any] = {
            "trial": trial.spec.key,
            "variant": trial.variant.name,
            "seed": trial.spec.seed,
            "state": trial.state,
            "reason": trial.reason,
        }
        if costs:
            described["trained"] = asdict(costs.scales[trial.variant.name].trained)
            described["paper_scale"] = asdict(costs.scales[trial.variant.name].paper)
            if distance := costs.distances.get(trial.variant.name):
                described["budget"] = asdict(distance)
            if price := costs.price.trials.get(trial.spec.key):
                described["estimate"] = asdict(price)
        trials.append(described)
    return {
        "experiment": plan.experiment,
        "recipe": plan.recipe_name,
        "changes": plan.changes,
        "count": plan.count(),
        "matrix": {
            "raw": plan.matrix.raw,
            "excluded": plan.matrix.excluded,
            "duplicates": plan.matrix.duplicates,
            "final": [variant.name for variant in plan.variants],
        },
        **({"price": _describe_price(costs.price)} if costs else {}),
        "trials": trials,
    }


def _describe_price(price: Estimate) -> dict[str, Any]:
    return {
        "device": asdict(price.device) if price.device else None,
        "hours": price.hours,
        "wall_seconds": price.wall_seconds,
        "side_by_side": price.side_by_side,
        "basis": price.basis,
        "disk_bytes": {
            "records": price.record_bytes,
            "checkpoints": price.checkpoint_bytes,
            "datasets": price.datasets,
            "total": price.disk_bytes,
        },
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
