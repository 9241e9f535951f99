"""MLflow is a view of the ledger: found again, never doubled, never waited for."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Answer
from mlflow import MlflowClient
from mlflow.entities import Run

from ablations.tracking import choose_uri


@pytest.fixture
def store(tmp_path: Path) -> Callable[[str], list[Run]]:
    """Reads all runs of an experiment from the embedded store."""

    def read(experiment: str) -> list[Run]:
        client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
        found = client.get_experiment_by_name(experiment)
        return list(client.search_runs([found.experiment_id])) if found else []

    return read


def split(runs: list[Run]) -> tuple[list[Run], list[Run]]:
    """Parents and children."""
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return [run for run in runs if run not in children], children


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_runs_are_nested_found_again_and_never_doubled(
    command: Callable[..., Answer], store: Callable[[str], list[Run]], tmp_path: Path
) -> None:
    """One parent, one run for each trial, with all that compares them; twice is as once."""
    assert command("run-ablation", "kernels", "--backend", "local").code == 0
    [parent], children = split(store("kernels"))

    assert len(children) == 6
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    child = next(run for run in children if run.info.run_name == "3x3, D=1, G=32, seed 2")
    assert child.info.status == "FINISHED"
    wanted = {"variant": "3x3, D=1, G=32", "seed": "2", "D": "1", "G": "32", "M": "2", "r": "16"}
    assert wanted.items() <= child.data.params.items()
    assert child.data.metrics["complexity/paper_scale_gflops"] == pytest.approx(4.468, abs=1e-3)
    assert 0 <= child.data.metrics["final/top1_error"] <= 100
    assert {"ablations.trial", "commit", "device", "seed", "variant"} <= child.data.tags.keys()
    [dataset] = child.inputs.dataset_inputs
    assert dataset.dataset.name == "synthetic"
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    history = client.get_metric_history(child.info.run_id, "epoch/train_loss")
    assert [metric.step for metric in history] == [0, 1]
    assert parent.info.artifact_uri.startswith(f"file://{tmp_path}/runs/artifacts")

    (tmp_path / "runs" / "tracking").rename(tmp_path / "forgotten")  # compared again, not trusted
    assert command("run-ablation", "kernels", "--backend", "local").code == 0

    assert {run.info.run_id for run in store("kernels")} == {
        run.info.run_id for run in [parent, *children]
    }


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_the_table_is_replaced(
    command: Callable[..., Answer], store: Callable[[str], list[Run]], tmp_path: Path
) -> None:
    """It grows with the seeds, and never holds a row twice; a narrowed one is not sent."""

    def read_table() -> dict:
        [parent], _ = split(store("attention"))
        artifacts = Path(parent.info.artifact_uri.removeprefix("file://"))
        logged = json.loads(parent.data.tags["mlflow.loggedArtifacts"])
        assert logged == [{"path": "table.json", "type": "table"}]
        assert "| 3x3 + 5x5 | SK |" in (artifacts / "table.md").read_text()
        return json.loads((artifacts / "table.json").read_text())

    arguments = ("attention", "--backend", "local")
    command("run-ablation", *arguments)
    first = read_table()
    config = tmp_path / "experiments.yaml"
    config.write_text(config.read_text().replace("seeds: [0, 1, 2]", "seeds: [0, 1, 2, 3]"))
    command("run-ablation", *arguments)
    second = read_table()
    command("run-ablation", *arguments, "--seeds", "0")

    position = first["columns"].index("quick: n")
    assert [row[position] for row in first["data"]] == ["3", "3"]
    assert [row[position] for row in second["data"]] == ["4", "4"]
    assert read_table() == second
    assert {run.info.status for run in store("attention")} == {"FINISHED"}


def test_off_sends_nothing(command: Callable[..., Answer], tmp_path: Path) -> None:
    """A machine without a store trains all the same."""
    answer = command("run-ablation", "attention", "--backend", "local", "--tracking-uri", "off")

    assert answer.code == 0
    assert not (tmp_path / "runs" / "mlflow.db").exists()


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_records_are_sent_later(
    command: Callable[..., Answer], store: Callable[[str], list[Run]]
) -> None:
    """Trained without a store, seen in one afterwards."""
    command("run-ablation", "attention", "--backend", "local", "--tracking-uri", "off")
    answer = command("run-ablation", "attention", "--backend", "local")

    assert "nothing to train" in answer.err
    assert len(store("attention")) == 1 + 6


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_store_that_fails_stops_nothing(command: Callable[..., Answer], tmp_path: Path) -> None:
    """The table is printed, the ledger is whole, and the trouble told."""
    uri = f"sqlite:///{tmp_path}/absent/folder/mlflow.db"
    (tmp_path / "absent").write_text("a file in its way")

    answer = command("run-ablation", "attention", "--backend", "local", "--tracking-uri", uri)

    assert answer.code == 0
    assert "6 asked = 6 finished" in answer.out
    assert "MLflow:" in answer.err


def test_the_uri_is_chosen(tmp_path: Path) -> None:
    """Flags win over the environment, the environment over the embedded file."""
    assert choose_uri("a", "b", tmp_path) == "a"
    assert choose_uri(None, "b", tmp_path) == "b"
    assert choose_uri(None, None, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
