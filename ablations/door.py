"""The Python door: what the commands do, as functions for notebooks and scripts."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from ablations.backends import Backend
from ablations.cli.progress import show_progress
from ablations.config import Config, find_config, read_config
from ablations.reconcile.outcome import Outcome
from ablations.reconcile.plans import Selection
from ablations.reconcile.run import run_experiments
from ablations.reconcile.survey import Forecast, Settings, forecast_experiments
from ablations.tracking import choose_uri
from ablations.workspace import Workspace


def run(
    experiment: str,
    *,
    recipe: str = "quick",
    settings: Mapping[str, Any] | None = None,
    seeds: Iterable[int] | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    until_decided: bool = False,
    reuse_results: bool = False,
    backend: Backend = Backend(),
    workspace: Workspace = Workspace(),
    config: Path | str | None = None,
    tracking_uri: str | None = None,
    download: bool = False,
    max_hours: float | None = None,
    progress: bool = True,
) -> Outcome:
    """Trains what is missing of an experiment, and returns what is known of it.

    Results, records and MLflow runs are written as by `run-ablation`. A trial that fails is no
    exception: its row says so, and `outcome.trials` has the reason.

    Args:
        experiment: Name of an experiment; trials that another one has trained are not repeated.
        recipe: How networks are trained.
        settings: Changes to fields of the recipe, such as `{"epochs": 20}`.
        seeds: Seeds in place of the recipe's.
        only: Patterns of the variants to run; all if empty.
        exclude: Patterns of the variants to leave out.
        until_decided: Whether to take look after look until everything is decided.
        reuse_results: Whether trials recorded in the results count as trained.
        backend: What runs the trials.
        workspace: Where runs, results and datasets are.
        config: Experiments file; ./experiments.yaml if None, else the bundled one.
        tracking_uri: MLflow store, or `off`; if None MLFLOW_TRACKING_URI, else a file in `runs`.
        download: Whether a missing dataset may be downloaded.
        max_hours: Most hours of cores, or of GPUs, that the trials may take.
        progress: Whether to show progress, on stderr or in the notebook.

    Raises:
        InputError: If what is asked for is not possible; nothing has been written then.
        MachineError: If the machine lacks a GPU, a dataset, or a folder to write into.
        IncompleteError: If existing results were edited or damaged.
        InterruptedRunError: If the run was interrupted; finished trials are kept.

    Examples:
        >>> outcome = run(
        ...     "dilation_group",
        ...     recipe="smoke",
        ...     only=["3x3, D=[12]*"],
        ...     backend=Backend(name="local"),
        ...     tracking_uri="off",
        ...     progress=False,
        ... )
        >>> outcome.trials["state"].value_counts().to_dict()
        {'skipped': 3, 'finished': 2}
    """
    show = partial(show_progress, console=Console(stderr=True, quiet=not progress))
    [outcome] = run_experiments(
        _read(config),
        [experiment],
        _select(recipe, settings, seeds, only, exclude, until_decided=until_decided),
        settings=Settings(
            workspace=workspace,
            backend=backend,
            tracking_uri=choose_uri(
                tracking_uri, os.environ.get("MLFLOW_TRACKING_URI"), workspace.runs_dir
            ),
            download=download,
            reuse_results=reuse_results,
            max_hours=max_hours,
        ),
        show=show,
    )
    return outcome


def plan(
    experiment: str,
    *,
    recipe: str = "quick",
    settings: Mapping[str, Any] | None = None,
    seeds: Iterable[int] | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    until_decided: bool = False,
    reuse_results: bool = False,
    backend: Backend = Backend(),
    workspace: Workspace = Workspace(),
    config: Path | str | None = None,
    max_hours: float | None = None,
) -> Forecast:
    """What a run would do: each trial with its state, complexity and time; trains nothing.

    Takes the arguments of `run`, except `tracking_uri`, `download` and `progress`.

    Raises:
        InputError: If what is asked for is not possible; and if the trials would take more than
            `max_hours`.

    Examples:
        >>> forecast = plan("dilation_group", seeds=range(2))
        >>> forecast.trials[["variant", "seed", "state"]].head(2)
                  variant  seed   state
        0  3x3, D=3, G=32     0  to run
        1  3x3, D=3, G=32     1  to run
    """
    [forecast] = forecast_experiments(
        _read(config),
        [experiment],
        _select(recipe, settings, seeds, only, exclude, until_decided=until_decided),
        settings=Settings(
            workspace=workspace, backend=backend, reuse_results=reuse_results, max_hours=max_hours
        ),
    )
    return forecast


def _read(config: Path | str | None) -> Config:
    path = None if config is None else Path(config)
    return read_config(find_config(path, working_dir=Path()))


def _select(
    recipe: str,
    settings: Mapping[str, Any] | None,
    seeds: Iterable[int] | None,
    only: Sequence[str],
    exclude: Sequence[str],
    *,
    until_decided: bool,
) -> Selection:
    return Selection(
        recipe_name=recipe,
        settings=settings or {},
        seeds=None if seeds is None else tuple(seeds),
        only=tuple(only),
        exclude=tuple(exclude),
        until_decided=until_decided,
    )
