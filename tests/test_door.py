"""The Python door does what the commands do, and its objects hold numbers rather than text."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, Answer

import ablations
from ablations.backends import Backend
from ablations.reconcile.outcome import describe_outcome

LOCAL = Backend(name="local")


def test_importing_the_package_loads_nothing_heavy() -> None:
    """A notebook's first cell is instant."""
    heavy = "{'torch', 'ray', 'mlflow', 'pandas', 'scipy', 'matplotlib', 'pydantic', 'yaml'}"
    code = f"import sys, ablations; print(sorted({heavy} & set(sys.modules)))"

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.strip() == "[]"


@pytest.mark.usefixtures("command")
def test_a_run_returns_its_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables are data frames; files are written as by the command."""
    outcome = ablations.run(
        "attention", seeds=range(3), backend=LOCAL, tracking_uri="off", progress=False
    )

    assert list(outcome.table.index) == ["sum", "SK"]
    assert outcome.table["n"].tolist() == [3, 3]
    assert outcome.table["top1_error"].dtype == float
    assert outcome.trials["state"].tolist() == ["finished"] * 6
    assert set(outcome.curves["epoch"]) == {0, 1}
    assert outcome.claims.empty
    assert capsys.readouterr() == ("", "")
    assert outcome.folder == Path("runs/tables/attention/quick")  # seeds were chosen
    assert (tmp_path / outcome.folder / "table.csv").is_file()


def test_the_command_and_the_function_share_their_trials(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    """Either continues what the other has begun."""
    first = ablations.run("attention", backend=LOCAL, tracking_uri="off", progress=False)

    answer = command(
        "run-ablation", "attention", "--backend", "local", "--tracking-uri", "off", "--wide"
    )

    assert "nothing to train" in answer.err
    for error in first.table["top1_error"]:
        assert f"{error:.2f} ±" in answer.out
    read = ablations.read_results(tmp_path / "results" / "attention" / "quick")
    pd.testing.assert_frame_equal(read.table, first.table)


@pytest.mark.usefixtures("command")
def test_a_plan_says_what_a_run_would_train() -> None:
    """One row per trial, with complexity and estimated time."""
    forecast = ablations.plan("kernels", settings={"epochs": 4}, only=["*D=2*"])

    assert forecast.trials["state"].value_counts().to_dict() == {"to run": 3, "skipped": 3}
    assert (forecast.trials["params"] > 0).all()
    assert forecast.estimate.hours > 0
    assert "kernels, recipe quick epochs=4" in forecast._repr_html_()


def test_a_plan_takes_the_arguments_of_a_run() -> None:
    """All but those of training, so that a call can be priced before it is made."""
    run, plan = (inspect.signature(call).parameters for call in (ablations.run, ablations.plan))

    others = {name for name in run if name not in {"tracking_uri", "download", "progress"}}
    assert plan.keys() == others
    assert all(plan[name].default == run[name].default for name in others)


@pytest.mark.usefixtures("command")
def test_a_plan_may_take_only_so_many_hours() -> None:
    """As `ablations plan --max-hours`."""
    with pytest.raises(ablations.InputError, match="--max-hours"):
        ablations.plan("kernels", max_hours=1e-6)


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"experiment": "kernel"}, "did you mean kernels?"),
        ({"experiment": "kernels", "recipe": "quik"}, "did you mean quick?"),
        ({"experiment": "kernels", "settings": {"epochs": 0}}, "epochs: Input should be greater"),
        ({"experiment": "kernels", "only": ["z"]}, "must leave a variant"),
    ],
)
def test_bad_input_raises_what_the_command_prints(
    arguments: dict[str, object], message: str
) -> None:
    """The exception that the command line turns into exit code 2."""
    with pytest.raises(ablations.InputError, match=message) as caught:
        ablations.run(**arguments, backend=LOCAL, tracking_uri="off")  # type: ignore[arg-type]

    assert caught.value.exit_code == 2


def test_committed_results_are_read_without_torch() -> None:
    """A laptop without PyTorch can work with a repository's results."""
    code = """
import sys, ablations
outcome = ablations.read_results(sys.argv[1])
print(outcome.table.shape, outcome.claims["verdict"].tolist(), len(outcome._repr_html_()) > 1000)
assert "torch" not in sys.modules
"""
    folder = ROOT / "results" / "dilation_group" / "quick"

    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(5, ")
    assert "undecided" in done.stdout


def test_a_folder_without_results_is_reported(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(ablations.IncompleteError, match="must hold the results of an experiment"):
        ablations.read_results(tmp_path)


def test_programs_read_the_agreement_with_the_paper() -> None:
    """As plain values, and null where papers print too few errors."""
    found, absent = (
        describe_outcome(ablations.read_results(ROOT / "results" / name / "quick"))["agreement"]
        for name in ("dilation_group", "branches")
    )

    assert isinstance(found, dict)
    assert list(found) == ["reference", "tau", "interval", "p", "rows"]
    assert (found["reference"], found["rows"], absent) == ("top1_error", 5, None)


def test_a_notebook_shows_the_table_with_its_figures() -> None:
    """As one piece of HTML, with names escaped."""
    outcome = ablations.read_results(ROOT / "results" / "dilation_group" / "quick")

    shown = outcome._repr_html_()

    assert shown.count("<svg") == 2
    assert "undecided" in shown
