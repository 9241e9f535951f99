"""Several runs on one folder share the work."""

import json
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer

from ablations.backends import Job, claim_trial, run_job
from ablations.backends.job import EpochDone, Event, TrialTaken
from ablations.plans import TrialSpec
from ablations.reconcile import run as reconcile
from ablations.workspace import Workspace

MAIN = (sys.executable, "-c", "from ablations.cli import main_run; main_run()")


@pytest.mark.parametrize("backend", ["local", pytest.param("ray", marks=pytest.mark.faults)])
def test_a_claimed_trial_is_left_to_its_owner(
    backend: str, spec: TrialSpec, make_job: Callable[..., Job]
) -> None:
    """Until the owner releases it without a record."""
    job = make_job(spec, backend=backend)
    events: list[Event] = []
    claim = claim_trial(spec.key, job.workspace)
    assert claim is not None

    run_job(job, events.append)
    claim.release()
    run_job(job, events.append)

    assert [type(event) for event in events if not hasattr(event, "reason")].count(TrialTaken) == 1
    assert [event.record.is_last for event in events if isinstance(event, EpochDone)][-1]


def test_a_recorded_trial_cannot_be_claimed(tmp_path: Path) -> None:
    """Another run ended it after this one had planned; no lock file stays behind."""
    workspace = Workspace(runs_dir=tmp_path)
    (workspace.trials_dir / "abc").mkdir(parents=True)

    assert claim_trial("abc", workspace) is None
    assert list(workspace.claims_dir.iterdir()) == []


def test_a_trial_that_another_run_gave_up_is_trained(
    command: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process died, so its claim ended without a record."""
    local = ("--backend", "local", "--tracking-uri", "off")
    workspace = Workspace(runs_dir=tmp_path / "runs")
    plan = json.loads(command("ablations", "plan", "attention", "--json").out)
    first = plan[0]["trials"][0]["trial"]
    claim = claim_trial(first, workspace)
    assert claim is not None
    wait = reconcile._await_others

    def give_up(*arguments: Any) -> Collection[str]:
        claim.release()
        return wait(*arguments)

    monkeypatch.setattr(reconcile, "_await_others", give_up)

    answer = command("run-ablation", "attention", *local)

    assert answer.code == 0
    assert "another run trains it" in answer.err
    assert "6 of 6 finished" in answer.out


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_two_runs_train_each_trial_once(tmp_path: Path) -> None:
    """Each ends when all trials of its own plan are done, with the same table, sent once."""
    options = ("dilation_group", "--recipe", "smoke", "--backend", "local")
    runs = [
        subprocess.Popen(
            [*MAIN, *options, "--results-dir", f"results-{name}"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    outputs = [run.communicate(timeout=600) for run in runs]

    assert [run.returncode for run in runs] == [0, 0], outputs
    trained = [sum(": error " in line for line in err.splitlines()) for _, err in outputs]
    assert sum(trained) == 5
    tables = [tmp_path / f"results-{name}/dilation_group/smoke/table.csv" for name in "ab"]
    assert tables[0].read_text() == tables[1].read_text()
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    [experiment] = client.search_experiments(filter_string="name = 'dilation_group'")
    kinds = [
        run.data.tags["ablations.kind"]
        for run in client.search_runs([experiment.experiment_id], max_results=100)
    ]
    assert sorted(kinds) == ["comparison", *["trial"] * 5]
