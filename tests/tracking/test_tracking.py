"""MLflow is a view of the ledger: runs are never duplicated, and training never waits for it."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Answer
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from recordings import make_recording

from ablations.attention import render_recording
from ablations.complexity import count_scales
from ablations.config import find_config, read_config
from ablations.ledger import Ledger
from ablations.plans import Plan
from ablations.reconcile.plans import Selection, draw_plan, list_keys, mark_plan
from ablations.reconcile.studies import gather_study
from ablations.statistics import Agreement
from ablations.study import Study
from ablations.tables import Table, build_table
from ablations.tracking import Mirror, choose_uri, list_views
from ablations.tracking.descriptions import (
    NOTE_LIMIT,
    describe_network,
    describe_parent,
    describe_trial,
)
from ablations.tracking.store import Tracker
from ablations.tracking.views import NOTE_END
from ablations.workspace import Workspace
from sknet.zoo import NETWORKS

Compared = tuple[Plan, Study, Table]


@pytest.fixture
def store(tmp_path: Path) -> Callable[[str], list[Run]]:
    """Reads all runs of an experiment from the embedded store."""

    def read(experiment: str) -> list[Run]:
        client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
        found = client.get_experiment_by_name(experiment)
        return list(client.search_runs([found.experiment_id])) if found else []

    return read


@pytest.fixture
def client(tmp_path: Path) -> MlflowClient:
    """The embedded store's client."""
    return MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")


@pytest.fixture
def sync(
    command: Callable[..., Answer], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Answer]:
    """Uploads the trials of `attention`, which are trained once for all tests."""
    kept = tmp_path_factory.getbasetemp() / "trials-of-attention"
    if not kept.exists():
        local = ("--backend", "local", "--tracking-uri", "off")
        assert command("run-ablation", "attention", *local).code == 0
        shutil.copytree(tmp_path / "runs" / "trials", kept)
    shutil.copytree(kept, tmp_path / "runs" / "trials", dirs_exist_ok=True)
    return lambda *arguments: command("ablations", "sync", *arguments)


@pytest.fixture
def compared(sync: Callable[..., Answer], tmp_path: Path) -> Compared:
    """The plan, study and table of `attention`."""
    assert sync is not None
    config = read_config(find_config(None, working_dir=tmp_path))
    ledger = Ledger(tmp_path / "runs")
    workspace = Workspace(
        runs_dir=tmp_path / "runs", results_dir=tmp_path / "results", data_dir=tmp_path / "data"
    )
    plan = draw_plan(config, "attention", Selection(), workspace=workspace)
    findings = ledger.examine(list_keys([plan]))
    scales = count_scales(config, plan, cache_file=workspace.complexity_file)
    study = gather_study(config, plan, findings, scales=scales, looks=(), earlier=None)
    return mark_plan(plan, findings), study, build_table(study)


def split(runs: list[Run]) -> tuple[list[Run], list[Run]]:
    """Parent runs and trial runs."""
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return [run for run in runs if run not in children], children


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_runs_are_nested_and_never_duplicated(
    command: Callable[..., Answer], store: Callable[[str], list[Run]], tmp_path: Path
) -> None:
    """One parent run and one run per trial; a second upload changes nothing."""
    assert command("run-ablation", "kernels", "--backend", "local").code == 0
    [parent], children = split(store("kernels"))

    assert len(children) == 6
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    child = next(run for run in children if run.info.run_name == "3x3, D=1, G=32, seed 2")
    assert child.info.status == "FINISHED"
    wanted = {"variant": "3x3, D=1, G=32", "seed": "2", "D": "1", "G": "32", "M": "2", "r": "16"}
    assert wanted.items() <= child.data.params.items()
    assert {
        "kernels": "3x3 + 3x3",
        "attention": "SK",
        "L": "32",
    }.items() <= child.data.params.items()
    assert child.data.metrics["paper_scale/GFLOPs"] == 4.468
    assert child.data.metrics["network/params"] > 1000
    assert 0 <= child.data.metrics["final/top1_error"] <= 100
    assert {"ablations.trial", "commit", "device", "recipe", "state"} <= child.data.tags.keys()
    assert not child.data.tags.keys() & child.data.params.keys()  # the UI would offer both
    assert parent.data.metrics["trials/finished"] == 6
    assert "final/top1_error" not in parent.data.metrics
    [dataset] = child.inputs.dataset_inputs
    assert dataset.dataset.name == "synthetic"
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    history = client.get_metric_history(child.info.run_id, "epoch/train_loss")
    assert [metric.step for metric in history] == [0, 1]
    assert parent.info.artifact_uri.startswith(f"file://{tmp_path}/runs/artifacts")

    (tmp_path / "runs" / "tracking").rename(tmp_path / "forgotten")  # compare all
    assert command("run-ablation", "kernels", "--backend", "local").code == 0

    assert {run.info.run_id for run in store("kernels")} == {
        run.info.run_id for run in [parent, *children]
    }


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_the_table_is_replaced(
    command: Callable[..., Answer], store: Callable[[str], list[Run]], tmp_path: Path
) -> None:
    """It grows with the seeds and has no duplicate rows; narrowed runs leave it alone."""

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


def test_off_uploads_nothing(command: Callable[..., Answer], tmp_path: Path) -> None:
    """A machine without a store can still train."""
    answer = command("run-ablation", "attention", "--backend", "local", "--tracking-uri", "off")

    assert answer.code == 0
    assert not (tmp_path / "runs" / "mlflow.db").exists()


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_records_are_uploaded_later(
    command: Callable[..., Answer], store: Callable[[str], list[Run]]
) -> None:
    """A run without a store can be followed by one with a store."""
    command("run-ablation", "attention", "--backend", "local", "--tracking-uri", "off")
    answer = command("run-ablation", "attention", "--backend", "local")

    assert "nothing to train" in answer.err
    assert len(store("attention")) == 1 + 6


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_failing_store_does_not_stop_a_run(
    command: Callable[..., Answer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The table is printed, the ledger is complete, and the problem is reported."""
    uri = f"sqlite:///{tmp_path}/absent/folder/mlflow.db"
    (tmp_path / "absent").write_text("not a folder")

    answer = command("run-ablation", "attention", "--backend", "local", "--tracking-uri", uri)

    assert answer.code == 0
    assert "Trials: 6 of 6 finished." in answer.out
    assert "MLflow: cannot use the MLflow store" in caplog.text


def test_the_flag_takes_precedence_over_the_environment(tmp_path: Path) -> None:
    """The environment takes precedence over the embedded store."""
    assert choose_uri("a", "b", tmp_path) == "a"
    assert choose_uri(None, "b", tmp_path) == "b"
    assert choose_uri(None, None, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_runs_missing_from_the_store_are_uploaded_again(
    sync: Callable[..., Answer], store: Callable[[str], list[Run]], client: MlflowClient
) -> None:
    """`sync` compares with the store and does not rely on the memory of uploads."""
    first = sync()
    lost = store("attention")
    for run in lost:
        client.delete_run(run.info.run_id)
    again = sync("attention", "--recipe", "quick")
    runs = store("attention")
    sync("attention")

    assert first.code == again.code == 0
    assert "attention, recipe quick: 6 of 6 trials and their table are in MLflow" in first.out
    assert "kernels, recipe quick: 3 of 6 trials" in first.out
    assert {run.info.run_name for run in runs} == {run.info.run_name for run in lost}
    assert len(runs) == 1 + 6
    [parent], _ = split(runs)
    assert (Path(parent.info.artifact_uri.removeprefix("file://")) / "table.json").is_file()
    assert {run.info.run_id for run in store("attention")} == {run.info.run_id for run in runs}


def test_sync_needs_a_store_and_known_experiments(
    sync: Callable[..., Answer], tmp_path: Path
) -> None:
    """Nothing is uploaded or written; the message has the reason."""
    off = sync("--tracking-uri", "off")
    unknown = sync("atention")
    nothing = sync("kernels", "--runs-dir", "elsewhere")

    assert off.code == unknown.code == 2
    assert "--tracking-uri must name a store to upload to, got 'off'" in off.err
    assert "attention" in unknown.err
    assert nothing.code == 0
    assert "nothing to upload" in nothing.out
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "runs" / "mlflow.db").exists()


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_runs_that_are_out_of_date_are_replaced(
    sync: Callable[..., Answer], store: Callable[[str], list[Run]], client: MlflowClient
) -> None:
    """Their parent is kept, and nothing is duplicated."""
    sync("attention")
    [parent], children = split(store("attention"))
    for run in children:
        client.log_metric(run.info.run_id, "another/metric", 1)
        client.set_tag(run.info.run_id, "ablations.digest", "of another schema")

    sync("attention")

    [same], renewed = split(store("attention"))
    assert same.info.run_id == parent.info.run_id
    assert len(renewed) == 6
    assert not [run for run in renewed if "another/metric" in run.data.metrics]


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_run_links_its_saved_view(
    sync: Callable[..., Answer], client: MlflowClient, tmp_path: Path
) -> None:
    """A run with nothing to upload knows the link too, without loading MLflow."""
    sync("attention")
    uri = f"sqlite:///{tmp_path}/runs/mlflow.db"
    number = client.get_experiment_by_name("attention").experiment_id
    path = f"#/experiments/{number}/runs?viewStateShareKey=quick-variants"
    client.set_experiment_tag(number, "mlflow.sharedViewState.0123", "deflate;eJyrVko")  # `Share`

    mirror = Mirror(uri, workspace=Workspace(runs_dir=tmp_path / "runs"))

    assert mirror.find_view("attention", "quick") == f"http://127.0.0.1:5000/{path}"
    assert mirror.find_view("attention", "unknown") is None
    assert path in [view.path for view in list_views(uri) if view.experiment == "attention"]


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_renamed_variant_is_renamed_in_the_store(
    sync: Callable[..., Answer],
    command: Callable[..., Answer],
    store: Callable[[str], list[Run]],
    tmp_path: Path,
) -> None:
    """The name is not part of a trial's identity: the same six trials get the new name."""
    sync("attention")
    config = tmp_path / "experiments.yaml"
    config.write_text(config.read_text().replace("SK: {attention", "selected: {attention"))

    answer = command("run-ablation", "attention", "--backend", "local")

    assert "nothing to train" in answer.err
    _, children = split(store("attention"))
    names = sorted(run.data.params["variant"] for run in children)
    assert names == ["selected"] * 3 + ["sum"] * 3


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_files_are_replaced_and_rendered_only_if_something_changed(
    compared: Compared,
    store: Callable[[str], list[Run]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Figures are in a folder of their own; a file that no longer exists is removed."""
    plan, study, table = compared
    drawn: list[str] = []
    monkeypatch.setattr(
        "ablations.figures.render_png", lambda chart: drawn.append(chart.name) or b"PNG"
    )

    def send(table: Table, **files: str) -> set[str]:
        workspace = Workspace(runs_dir=tmp_path / "runs")
        mirror = Mirror(choose_uri(None, None, tmp_path / "runs"), workspace=workspace)
        named = {name.replace("_", "."): text.encode() for name, text in files.items()}
        mirror.send_study(plan, study, table, {"table.md": b"", **named})
        assert mirror.close() is None
        [parent], _ = split(store("attention"))
        folder = Path(parent.info.artifact_uri.removeprefix("file://"))
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    figures = {f"figures/{name}.png" for name in ("errors", "differences", "cost", "curves")}
    first = send(table, report_html="whole", errors_svg="<svg/>")
    send(table, report_html="whole", errors_svg="<svg/>")
    assert sorted(drawn) == ["cost", "curves", "differences", "errors"]
    second = send(table, report_html="new")

    assert first == {"table.md", "table.json", "report.html", "errors.svg", *figures}
    assert second == first - {"errors.svg"}


def test_a_diverged_trial_has_a_digest(compared: Compared) -> None:
    """Its loss is NaN, for which JSON has no value."""
    plan, study, _ = compared
    record = next(trial.record for trial in study.trials if trial.record)
    last = replace(record.last, diverged=True, train_loss=float("nan"))
    scales = next(iter(study.scales.values()))

    diverged, finished = (
        describe_trial(plan.trials[0], replace(record, epochs=epochs), scales)
        for epochs in ((last,), record.epochs)
    )

    assert diverged.digest != finished.digest


def test_importing_the_package_loads_no_slow_library() -> None:
    """The command line imports it for `--help`."""
    slow = ["torch", "mlflow", "pandas", "matplotlib"]
    code = f"import sys, ablations.tracking; print([*filter(sys.modules.get, {slow})])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert answer.stdout == "[]\n"


def count_calls(monkeypatch: pytest.MonkeyPatch, method: str, error: str = "") -> list[str]:
    """Counts calls of a tracker's method, which raises if `error` is not empty."""
    calls: list[str] = []
    original = getattr(Tracker, method)

    def call(tracker: Tracker, *arguments: object, **named: object) -> None:
        calls.append(method)
        try:
            if error == "unreachable":
                raise ConnectionError("gone")
        except ConnectionError:
            raise MlflowException("API request failed")  # noqa: B904, as MLflow raises it
        if error:
            raise MlflowException(error)
        original(tracker, *arguments, **named)

    monkeypatch.setattr(Tracker, method, call)
    return calls


@pytest.mark.filterwarnings("ignore")  # MLflow's own
@pytest.mark.usefixtures("sync")
def test_a_server_that_refuses_connections_is_asked_once(
    command: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each of seven uploads would have to time out; the run is complete without them."""
    trackers = count_calls(monkeypatch, "__init__")

    options = ("--backend", "local", "--tracking-uri", "http://127.0.0.1:1")
    answer = command("run-ablation", "attention", *options)

    assert answer.code == 0
    assert "nothing to train" in answer.err
    assert len(trackers) == 1
    [line] = (
        record.getMessage() for record in caplog.records if "127.0.0.1" in record.getMessage()
    )
    assert line.startswith("MLflow: cannot use the MLflow store http://127.0.0.1:1: ")
    assert "[Errno 111] Connection refused" in line
    assert line.endswith("The ledger is complete; a later run sends it.")


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_server_that_never_answers_is_asked_twice(
    compared: Compared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One retry, then all other uploads fail at once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    plan, study, table = compared
    study = replace(study, trials=())

    with socket.create_server(("127.0.0.1", 0)) as server:
        workspace = Workspace(runs_dir=tmp_path / "runs")
        mirror = Mirror(f"http://127.0.0.1:{server.getsockname()[1]}", workspace=workspace)
        for trial in range(20):
            mirror.send_study(plan, study, table, {"table.md": f"{trial}".encode()})
        trouble = mirror.close()
        server.setblocking(False)
        connections = []
        with suppress(BlockingIOError):
            while True:
                connections.append(server.accept()[0])
        for connection in connections:
            connection.close()

    assert "Read timed out" in str(trouble)
    assert len(connections) == 2


@pytest.mark.filterwarnings("ignore")  # MLflow's own
@pytest.mark.parametrize(("error", "count"), [("unreachable", 1), ("this trial is refused", 6)])
def test_uploads_end_when_the_store_becomes_unreachable(
    sync: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, error: str, count: int
) -> None:
    """A store that only rejects one trial still receives the others."""
    trials = count_calls(monkeypatch, "log_trial", error)
    tables = count_calls(monkeypatch, "log_parent")

    answer = sync("attention")

    assert answer.code == 3
    assert len(trials) == count
    assert len(tables) == (count == 6)


def test_a_run_that_hangs_at_an_upload_does_not_block_others(
    sync: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stopped process keeps its lock; what another run could not send is sent later."""
    sync("attention")
    [memory] = tmp_path.glob("runs/tracking/*.json")
    monkeypatch.setattr("ablations.tracking.mirror.LOCK_SECONDS", 0.1)

    with FileLock(memory.with_suffix(".lock")):
        answer = sync("attention")

    assert answer.code == 3
    assert "another run on the same folder has been uploading for 0.1 s" in answer.err
    assert sync("attention").code == 0


@pytest.mark.filterwarnings("ignore")  # MLflow's own
@pytest.mark.parametrize("name", ["folder", "text", "text/below"])
def test_a_store_that_is_not_a_database_is_refused_at_once(
    sync: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """MLflow itself would retry ten times, with increasing pauses."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no database" * 100)
    monkeypatch.setattr("mlflow.store.db.utils.time", None)
    uri = f"sqlite:///{tmp_path / name}"

    answer = sync("attention", "--tracking-uri", uri)

    assert answer.code == 3
    assert f"MLflow: cannot use the MLflow store {uri}: " in answer.err


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_every_recipe_has_its_views(sync: Callable[..., Answer], client: MlflowClient) -> None:
    """They have the form that the UI reads; a user's own note is left alone."""
    sync("attention")
    experiment = client.get_experiment_by_name("attention")
    note = experiment.tags["mlflow.note.content"]
    client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "Mine.")
    sync("attention")

    assert note.startswith("Does attention help?")
    assert note.endswith(NOTE_END)
    tags = client.get_experiment_by_name("attention").tags
    assert tags["mlflow.note.content"] == "Mine."
    trials, variants = (
        json.loads(json.loads(tags[f"mlflow.sharedViewState.quick-{name}"])["state"])
        for name in ("trials", "variants")
    )
    runs = client.search_runs([experiment.experiment_id], trials["searchFilter"])
    assert len(runs) == 6
    known = {f"params.`{name}`" for name in runs[0].data.params}
    known |= {f"metrics.`{name}`" for name in runs[0].data.metrics} | {"tags.`recipe`"}
    assert set(trials["selectedColumns"]) | set(variants["selectedColumns"]) <= known
    assert variants["groupBy"]["groupByKeys"] == [{"mode": "param", "groupByData": "variant"}]


def test_a_long_table_is_cut_between_lines(compared: Compared) -> None:
    """MLflow would cut it anywhere; the complete table is an artifact."""
    text = "\n".join(f"note {number} of many" for number in range(1000))

    described = describe_parent(*compared, {"table.md": text.encode()})

    note = described.tags["mlflow.note.content"]
    assert len(note) <= NOTE_LIMIT
    assert note.endswith("of many\n\nThe complete text is in the artifact table.md.\n")
    assert "note 999 of many" in str(described.files["table.md"].render())


def test_a_recording_of_attention_is_attached(compared: Compared) -> None:
    """Its table and figures, in a folder of their own; its records stay in results/."""
    names = ("table.md", "attention/table.md", "attention/depth.svg")
    records = {"attention/records.json": render_recording(make_recording())}

    described = describe_parent(*compared, {**dict.fromkeys(names, b""), **records})

    figures = ("sizes", "depth", "interventions", "classes", "montage")
    assert {name for name in described.files if name.startswith("attention/")} == {
        *("attention/table.md", "attention/depth.svg"),
        *(f"attention/figures/{name}.png" for name in figures),
    }


@pytest.mark.parametrize("interval", [(0.31, 0.78), None])
def test_agreement_with_the_paper_is_a_metric(
    compared: Compared, interval: tuple[float, float] | None
) -> None:
    """With one seed there is no interval, and without printed errors no agreement."""
    plan, study, table = compared
    found = Agreement(reference="top1_error", tau=0.62, interval=interval, p=0.03, rows=10)
    files = {"table.md": b""}

    without = describe_parent(plan, study, table, files).metrics
    metrics = describe_parent(plan, study, replace(table, agreement=found), files).metrics

    bounds = {"agreement/low": 0.31, "agreement/high": 0.78} if interval else {}
    assert metrics == {**without, "agreement/tau": 0.62, "agreement/p": 0.03, **bounds}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sknet50", {"attention": "SK", "r": 16, "M": 2, "kernels": "3x3 + 5x5", "squeeze": "-"}),
        ("senet50", {"attention": "SE", "r": 16, "M": 1, "squeeze": "avg", "stages": "all"}),
        ("resnext50_cbam", {"attention": "CBAM", "r": 16, "G": 32, "depths": "3-4-6-3"}),
        ("resnext50_32x4d", {"attention": "-", "r": "-", "stages": "-"}),
        ("se_resnet50_stage2", {"attention": "SE", "stages": "1"}),
    ],
)
def test_all_networks_are_described_by_the_same_params(
    name: str, expected: dict[str, object]
) -> None:
    """One set of columns then fits all experiments."""
    described = describe_network(NETWORKS[name])

    assert expected.items() <= described.items()
    assert described.keys() == describe_network(NETWORKS["sknet50"]).keys()
