"""`ablations report`: regenerates results, or checks them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablations.cli.display import (
    add_row,
    make_table,
    print_json,
    print_line,
    print_message,
    print_table,
)
from ablations.cli.options import (
    AsJson,
    ConfigPath,
    DataDir,
    ResultsDir,
    RunsDir,
    SomeRecipe,
    complete_experiment,
    load_config,
)
from ablations.errors import IncompleteError, InputError

if TYPE_CHECKING:  # loaded when a command runs: help and completion do without it
    from ablations.reconcile.outcome import Outcome


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Experiments.", metavar="[NAME...]", autocompletion=complete_experiment
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All experiments.")] = False,
    recipe: SomeRecipe = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; report what was edited or is outdated.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Regenerate results from their own records and the ledger, or check them."""
    # Late: help and completion do without them.
    from ablations.reconcile import results
    from ablations.workspace import Workspace

    if bool(names) == every:
        raise InputError("report needs either names of experiments or --all.")
    workspace = Workspace(runs_dir=runs_dir, results_dir=results_dir, data_dir=data_dir)
    experiments = load_config(config)
    if check:
        findings = results.check_results(experiments, workspace, names=names or (), recipe=recipe)
        older = results.list_older(experiments, workspace, names=names or (), recipe=recipe)
        _print_findings(findings, older, results_dir, as_json=as_json)
        return
    outcomes = results.regenerate_results(experiments, workspace, names=names or (), recipe=recipe)
    others = results.write_overviews(experiments, workspace, outcomes) if outcomes else []
    if outcomes or as_json:
        _print_outcomes(outcomes, others, as_json=as_json)
    elif every:
        print_message(f"nothing to report: no experiment is whole in {runs_dir} or {results_dir}")
    for line in results.find_foreign(experiments, workspace):
        print_message(line)
    known = {outcome.study.definition.experiment for outcome in outcomes}
    if unknown := [name for name in names or () if name not in known]:
        options = [] if recipe is None else ["--recipe", recipe]
        raise IncompleteError(
            f"nothing is known of {', '.join(unknown)}; train with "
            f"`run-ablation {' '.join([*unknown, *options])}`."
        )


def _print_findings(
    findings: Sequence[str], older: Sequence[Path], results_dir: Path, *, as_json: bool
) -> None:
    """Says that everything is well, or raises with what is not."""
    if as_json:
        print_json({"findings": list(findings), "older_procedure": [str(path) for path in older]})
    elif not findings:
        print_line(f"{results_dir}: everything matches its records.")
    if older and not as_json:
        print_line(
            f"{len(older)} tables show trials of an older procedure, as their notes say. This "
            "version does not reuse them; `run-ablation EXPERIMENT` trains new ones."
        )
    if findings:
        raise IncompleteError("\n".join(findings))


def _print_outcomes(
    outcomes: "Sequence[Outcome]", others: Sequence[Path], *, as_json: bool
) -> None:
    """What was written, folder by folder, with the verdicts."""
    from ablations.report import count_words

    described = [_describe(outcome) for outcome in outcomes]
    if as_json:
        print_json({"studies": described, "written": [str(path) for path in others]})
        return
    table = make_table("experiment", "recipe", "trials", "verdicts", "claims", "written")
    for known in described:
        states = ", ".join(f"{number} {state}" for state, number in known["count"].items())
        verdicts, claims = count_words(known["verdicts"]), count_words(known["claims"])
        written = ", ".join(known["written"]) or "unchanged"
        add_row(table, known["experiment"], known["recipe"], states, verdicts, claims, written)
    print_table(table)
    for path in others:
        print_line(f"written: {path}")


def _describe(outcome: "Outcome") -> dict[str, Any]:
    study, table = outcome.study, outcome.comparison
    return {
        "experiment": study.definition.experiment,
        "recipe": study.definition.recipe_name,
        "folder": str(outcome.folder),
        "matrix": study.definition.matrix_hash,
        "count": {state: number for state, number in study.count().items() if number},
        "verdicts": [word for word in table.rows["verdict"] if isinstance(word, str)],
        "claims": [claim.word for claim in table.claims],
        "written": outcome.written,
    }
