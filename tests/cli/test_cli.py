"""The commands as a user meets them: what they print, what they write, how they exit."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from conftest import EXPERIMENTS, ROOT, Answer

from ablations.cli import options
from ablations.cli.app import app
from ablations.cli.options import parse_seeds
from ablations.errors import InputError
from ablations.study.export import EXPORTED

LOCAL = ("--backend", "local", "--tracking-uri", "off")


def list_files(folder: Path) -> set[str]:
    """Everything below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_run_prints_and_writes_its_table(command: Callable[..., Answer], tmp_path: Path) -> None:
    """The table goes to stdout and to results/, progress to stderr."""
    answer = command("run-ablation", "kernels", *LOCAL)

    assert answer.code == 0
    assert "Trials: 6 of 6 finished." in answer.out
    assert "20.79" in answer.out
    assert "[6/6]" in answer.err
    folder = tmp_path / "results" / "kernels" / "quick"
    figures = {"cost.svg", "curves.svg", "differences.svg", "errors.svg"}
    derived = {"table.md", "table.csv", "table.tex", "summary.md", "report.html", *figures}
    assert {path.name for path in folder.iterdir()} == derived | set(EXPORTED)
    assert "| 3x3 | 2 | 32 | 5x5 | 20.79 | 27.5 | 4.47 |" in (folder / "table.md").read_text()


def test_running_again_trains_nothing(command: Callable[..., Answer], tmp_path: Path) -> None:
    """It prints the same table, byte for byte."""
    page = "<!-- table: results/kernels/quick/table.md -->\nmine\n<!-- end of table -->\n"
    (tmp_path / "README.md").write_text(page)
    first = command("run-ablation", "kernels", *LOCAL)
    assert (tmp_path / "README.md").read_text() == page  # only `report` writes there
    written = (tmp_path / "results/kernels/quick/table.md").read_text()
    records = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/trials/*/*")}

    second = command("run-ablation", "kernels", *LOCAL)

    assert "nothing to train" in second.err
    assert second.out == first.out
    assert (tmp_path / "results/kernels/quick/table.md").read_text() == written
    assert {path: path.stat().st_mtime_ns for path in records} == records


def test_only_what_is_missing_is_trained(command: Callable[..., Answer], tmp_path: Path) -> None:
    """After a record was lost and after seeds were added."""
    command("run-ablation", "kernels", *LOCAL)
    table = (tmp_path / "results/kernels/quick/table.csv").read_text()
    lost = sorted(tmp_path.glob("runs/trials/*"))[0]
    lost.rename(tmp_path / "lost")

    answer = command("run-ablation", "kernels", *LOCAL)

    assert "1 trial to run" in answer.err
    assert (tmp_path / "results/kernels/quick/table.csv").read_text() == table
    answer = command("run-ablation", "kernels", *LOCAL, "--seeds", "0-3")
    assert "2 trials to run" in answer.err


def test_shared_trials_are_trained_once(command: Callable[..., Answer]) -> None:
    """SK with 3x3 and 5x5 kernels is a row of both experiments."""
    answer = command("run-ablation", "kernels", "attention", *LOCAL)

    assert answer.code == 0
    assert "9 trials to run" in answer.err  # 6 + 6 less the 3 that are shared
    assert answer.out.count("6 of 6 finished") == 2


def test_a_narrowed_run_leaves_results_alone(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    """Its table says what was changed, and is written under runs/."""
    answer = command(
        "run-ablation", "kernels", *LOCAL, "--only", "*D=2*", "--set", "epochs=1", "--seeds", "0"
    )

    assert answer.code == 0
    assert "Narrowed or altered: --set epochs=1; --seeds 0; --only '*D=2*'." in answer.out
    assert "1 of 2 finished, 1 skipped" in answer.out
    assert not (tmp_path / "results").exists()
    assert (tmp_path / "runs/tables/kernels/quick_epochs=1/table.md").is_file()


def test_a_damaged_record_is_reported_kept_and_trained_again(
    command: Callable[..., Answer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A table is never based on a damaged file."""
    command("run-ablation", "kernels", *LOCAL)
    table = (tmp_path / "results/kernels/quick/table.csv").read_text()
    damaged = sorted(tmp_path.glob("runs/trials/*"))[0]
    (damaged / "record.json").write_text("{")

    status = command("ablations", "status", "kernels")
    answer = command("run-ablation", "kernels", *LOCAL)

    assert f"{damaged.name} " in status.out
    assert "its record is damaged" in status.out
    assert f"trial {damaged.name}: its record is damaged" in caplog.text
    assert "1 trial to run" in answer.err
    assert len(list(tmp_path.glob(f"runs/corrupt/*/{damaged.name}"))) == 1
    assert (tmp_path / "results/kernels/quick/table.csv").read_text() == table


def test_status_checks_the_weights_if_asked(command: Callable[..., Answer], tmp_path: Path) -> None:
    """Nothing reads the weights of all trials otherwise."""
    command("run-ablation", "kernels", *LOCAL)
    weights = sorted(tmp_path.glob("runs/trials/*/weights.pt"))[0]
    weights.write_bytes(weights.read_bytes()[::-1])

    assert "damaged" not in command("ablations", "status", "kernels").out
    assert "weights.pt must have the checksum" in (
        command("ablations", "status", "kernels", "--deep").out
    )


def test_a_failed_trial_is_reported_and_tried_again(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, the reason in `status`, and the next run tries again."""
    from ablations.backends import attempts

    whole = attempts.run_trial

    def fail_for_seed_1(spec, **places):  # noqa: ANN001, ANN003, ANN202
        if spec.seed == 1:
            raise RuntimeError("out of luck")
        return whole(spec, **places)

    monkeypatch.setattr(attempts, "run_trial", fail_for_seed_1)
    answer = command("run-ablation", "attention", *LOCAL)
    status = command("ablations", "status", "attention")
    monkeypatch.setattr(attempts, "run_trial", whole)
    again = command("run-ablation", "attention", *LOCAL)

    assert answer.code == 1
    assert "2 trials failed; the table's notes say why." in answer.err
    assert "SK, seed 1: failed, RuntimeError: out of luck." in answer.out
    assert "4 of 6 finished, 2 failed" in answer.out
    assert "RuntimeError: out of luck" in status.out
    assert again.code == 0
    assert "2 trials to run" in again.err


@pytest.mark.parametrize("asked", ["the failed ones", "a narrowed plan"])
def test_only_failed_trials_are_tried_again_if_asked(
    asked: str, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A whole experiment is written to results/; one with trials that never ran is not."""
    from ablations.backends import attempts

    whole = attempts.run_trial

    def fail_for_seed_1(spec, **places):  # noqa: ANN001, ANN003, ANN202
        if spec.seed == 1:
            raise RuntimeError("out of luck")
        return whole(spec, **places)

    seeds = () if asked == "the failed ones" else ("--seeds", "0,1")
    monkeypatch.setattr(attempts, "run_trial", fail_for_seed_1)
    command("run-ablation", "attention", *LOCAL, *seeds)
    monkeypatch.setattr(attempts, "run_trial", whole)
    again = command("run-ablation", "attention", *LOCAL, "--retry-failed")

    assert again.code == 0
    assert "2 trials to run" in again.err
    assert len(list(tmp_path.glob("runs/trials/*"))) == (4 if seeds else 6)
    assert (tmp_path / "results/attention").exists() != bool(seeds)
    assert ("2 skipped" in again.out) == bool(seeds)


def test_without_known_trials_none_can_be_retried(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    """A run that never began gets one message, and nothing is written."""
    answer = command("run-ablation", "attention", *LOCAL, "--retry-failed")

    assert answer.code == 2
    assert "--retry-failed needs trials of attention that have failed or ended" in answer.err
    assert not list(tmp_path.glob("runs/trials")) + list(tmp_path.glob("results"))


def test_failed_trials_alone_cannot_decide(command: Callable[..., Answer]) -> None:
    """A look needs the other trials, too."""
    answer = command("run-ablation", "attention", "--retry-failed", "--until-decided")

    assert answer.code == 2
    assert "--retry-failed and --until-decided exclude each other" in answer.err


def test_a_diverged_trial_is_reported_and_not_repeated(command: Callable[..., Answer]) -> None:
    """Its row has no error, and a note says why."""
    arguments = ("run-ablation", "attention", *LOCAL, "--set", "learning_rate=1e30")

    answer, again = command(*arguments), command(*arguments)

    assert (answer.code, again.code) == (1, 1)
    assert "6 trials diverged, which is final" in answer.err
    assert "0 of 6 finished, 6 diverged" in answer.out
    assert "SK, seed 0: diverged, the loss became NaN or infinite in epoch 1." in answer.out
    assert "nothing to train" in again.err


def test_an_interrupted_run_keeps_what_is_finished(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 130, and the same command resumes."""
    from ablations.backends import attempts

    whole = attempts.run_trial

    def stop_at_seed_1(spec, **places):  # noqa: ANN001, ANN003, ANN202
        if spec.seed == 1:
            raise KeyboardInterrupt
        return whole(spec, **places)

    monkeypatch.setattr(attempts, "run_trial", stop_at_seed_1)
    answer = command("run-ablation", "attention", *LOCAL)
    monkeypatch.setattr(attempts, "run_trial", whole)
    again = command("run-ablation", "attention", *LOCAL)

    assert answer.code == 130
    assert "2 of 6 trials are finished and kept" in answer.err
    assert "4 trials to run" in again.err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_stops_commands_that_do_not_train(
    command: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
) -> None:
    """Typer has an exit code of its own for Ctrl-C, and prints nothing."""
    monkeypatch.setattr("ablations.cli.list.load_config", lambda _: signal.raise_signal(number))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background

    answer = command("ablations", "list")
    signal.signal(signal.SIGINT, before)

    assert (answer.code, answer.out, answer.err) == (code, "", "interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("lst",), 2, "No such command 'lst'"),
        (("list", "--jsn"), 2, "No such option: --jsn"),
        (("match",), 2, "Missing option '--to'"),
        (("bench", "kernels", "--rounds", "0"), 2, "Input should be greater than or equal to 1"),
        (("list", "--help"), 0, "List experiments, recipes and bodies."),
    ],
)
def test_wrong_usage_gets_a_message(
    command: Callable[..., Answer], arguments: tuple[str, ...], code: int, message: str
) -> None:
    """Typer finds it, before a command begins."""
    answer = command("ablations", *arguments)

    assert answer.code == code
    assert message in answer.out + answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("kernel",), 2, "did you mean kernels?"),
        (("kernels", "--recipe", "quik"), 2, "did you mean quick?"),
        (("kernels", "--set", "epoch=1"), 2, "did you mean epochs?"),
        (("kernels", "--set", "epochs=-1"), 2, "--set epochs: Input should be greater than 0"),
        (("kernels", "--set", "epochs"), 2, "--set must be key=value, got 'epochs'"),
        (("kernels", "--set", "epochs=1", "--set", "epochs=2"), 2, "'epochs' must be set once"),
        (("kernels", "--looks", "3,3"), 2, "--looks looks must increase from at least 3 seeds"),
        (("kernels", "--looks", "3,5", "--set", "looks=[3,4]"), 2, "'looks' must be set once"),
        (("kernels", "--set", "looks=[3,5]", "--seeds", "0"), 2, "--seeds and --set looks exclude"),
        (("kernels", "--until-decided"), 2, "recipe quick plans none after the first"),
        (
            ("kernels", "--until-decided", "--seeds", "0-4"),
            2,
            "recipe quick with --seeds plans none after the first",
        ),
        (("kernels", "--set", "body=we"), 2, "--set body: must be one of"),
        (("kernels", "--seeds", "x"), 2, "--seeds must be a list like 0,2 or 0-4, got 'x'"),
        (("kernels", "--only", "z*"), 2, "must leave a variant"),
        (("kernels", "--config", "no.yaml"), 2, "no.yaml must be an experiments file"),
        (("kernels", *LOCAL, "--gpus-per-trial", "auto"), 2, "needs --backend ray, got local"),
        (("kernels", *LOCAL, "--gpus-per-trial", "0.5"), 2, "needs --backend ray, got local"),
        (("kernels", "--gpus-per-trial", "64"), 3, "--gpus-per-trial must be at most"),
        (("kernels", "--set", "dataset=cifar10"), 3, "must hold CIFAR-10 in a folder"),
        (("kernels", "--runs-dir", "experiments.yaml"), 3, "must be a writable folder"),
        (("kernels", "--results-dir", "experiments.yaml"), 3, "Pass another --results-dir"),
        (("kernels", "--backend", "slurm"), 2, "'slurm' is not one of"),
        ((), 2, "Missing argument"),
    ],
)
def test_bad_input_gets_one_message_and_writes_nothing(
    command: Callable[..., Answer],
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    """No stack trace and no half-written folders."""
    before = list_files(tmp_path)

    answer = command("run-ablation", *arguments)

    assert answer.code == code
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""
    assert list_files(tmp_path) == before


def test_a_plan_trains_nothing_and_needs_no_services(tmp_path: Path) -> None:
    """Neither Ray nor MLflow is imported; nor is torch, once complexity and speed are cached."""
    code = """
import sys
from ablations.cli import main
try:
    main()
finally:
    print(sorted({"ray", "mlflow", "torch"} & set(sys.modules)), file=sys.stderr)
"""
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code, "plan", "dilation_group", "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(2)
    )

    [plan] = json.loads(first.stdout)
    assert first.stderr.strip().splitlines()[-1] == "['torch']"
    assert len(plan["trials"]) == plan["count"]["to run"] == 15
    assert plan["trials"][0]["paper_scale"]["params"] == 27_479_784
    assert plan["trials"][0]["estimate"]["seconds"] > 0
    assert plan["estimate"]["hours"] > 0
    assert plan["estimate"]["basis"][0].startswith("measured here on ")
    assert not (tmp_path / "runs" / "trials").exists()
    assert second.stderr.strip().splitlines()[-1] == "[]"
    assert second.stdout == first.stdout


def test_the_local_backend_needs_no_ray(tmp_path: Path) -> None:
    """A machine without Ray and MLflow can train; a run with nothing to do needs no torch."""
    code = """
import sys
from ablations.cli import main_run
try:
    main_run()
finally:
    print({"ray", "mlflow", "torch", "matplotlib"} & set(sys.modules), file=sys.stderr)
"""
    arguments = ("dilation_group", "--recipe", "smoke", "--only", "*D=2*", *LOCAL)
    answers = [
        subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(2)
    ]

    assert all("1 of 5 finished" in answer.stdout for answer in answers)
    loaded = [answer.stderr.strip().splitlines()[-1] for answer in answers]
    assert loaded[1] == "set()"
    assert "ray" not in loaded[0]
    assert "mlflow" not in loaded[0]


def test_a_dry_run_is_the_plan(command: Callable[..., Answer], tmp_path: Path) -> None:
    """Both print the same text, and train nothing."""
    dry, plan = (
        command("run-ablation", "kernels", "--dry-run"),
        command("ablations", "plan", "kernels"),
    )

    assert dry.out == plan.out
    assert "Trials: 6 (6 to run)." in plan.out
    assert not (tmp_path / "runs" / "trials").exists()


def test_the_imagenet_recipe_can_be_planned(command: Callable[..., Answer]) -> None:
    """Its estimate needs neither the images nor a GPU."""
    answer = command(
        "ablations", "plan", "dilation_group", "--recipe", "imagenet",
        "--config", str(ROOT / "experiments.yaml"), "--seeds", "0",
    )  # fmt: skip

    assert answer.code == 0
    assert "27,479,784" in answer.out
    assert "years" in answer.out


def test_list_names_experiments_recipes_and_bodies(command: Callable[..., Answer]) -> None:
    """As text and as JSON."""
    text, data = command("ablations", "list"), command("ablations", "list", "--json")

    assert {"kernels", "attention"} == json.loads(data.out)["experiments"].keys()
    for word in ("Which second kernel?", "quick", "wee", "imagenet50"):
        assert word in text.out


def test_a_run_prints_its_results_as_json(command: Callable[..., Answer]) -> None:
    """Rows have unrounded numbers, and null where nothing is known."""
    answer = command("run-ablation", "kernels", *LOCAL, "--json")

    [report] = json.loads(answer.out)
    assert report["count"]["finished"] == 6
    assert [row["paper_top1_error"] for row in report["rows"]] == [20.79, 20.91]
    assert report["rows"][0]["difference_half_width"] is None
    assert report["rows"][1]["verdict"] in ("better", "worse", "equivalent", "undecided")
    assert report["claims"] == []


def test_claims_are_printed_with_their_scope(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    """Below the table as text, and with their evidence as JSON."""
    claim = (
        "    claims: [{name: attention helps, better: SK, than: sum}]\n    variants:\n      sum:"
    )
    path = tmp_path / "experiments.yaml"
    path.write_text(path.read_text().replace("    variants:\n      sum:", claim))

    text = command("run-ablation", "attention", *LOCAL)
    data = command("run-ablation", "attention", *LOCAL, "--json")

    [[found]] = [report["claims"] for report in json.loads(data.out)]
    assert found["scope"] == "quick: synthetic, wee, n=3"
    assert found["verdict"] == f"{found['word']} ({found['scope']})"
    assert [part["statement"] for part in found["parts"]] == ["SK better than sum"]
    assert f"Claim: attention helps: {found['verdict']}" in text.out
    written = (tmp_path / "results/attention/quick/table.md").read_text()
    assert f"- attention helps: {found['verdict']}" in written


def test_adding_seeds_one_by_one_is_exploratory(command: Callable[..., Answer]) -> None:
    """One extension is not."""
    titles = [
        command("run-ablation", "attention", *LOCAL, "--set", "epochs=1", "--seeds", seeds).out
        for seeds in ("0-2", "0-3", "0-4", "0-3")
    ]

    assert ["exploratory" in title for title in titles] == [False, False, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Run something first"),
        (("--tracking-uri", "off"), "--tracking-uri must name a store to show, got 'off'"),
        (("--port", "0"), "--port"),
    ],
)
def test_the_user_interface_needs_a_store_and_a_port(
    command: Callable[..., Answer], arguments: tuple[str, ...], message: str
) -> None:
    """MLflow would create an empty store and serve that."""
    answer = command("ablations", "ui", *arguments)

    assert answer.code == 2
    assert message in answer.err


def test_the_user_interface_serves_this_machine_and_prints_links(
    command: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server listens on 127.0.0.1 only; each saved view has a link that opens it directly."""
    (tmp_path / "runs" / "mlflow.db").write_bytes(b"")
    path = "#/experiments/7/runs?viewStateShareKey=quick-variants"
    monkeypatch.setattr(
        "ablations.tracking.list_views", lambda _: [("kernels", "by variant", path)]
    )
    calls: list[list[str]] = []
    monkeypatch.setattr("ablations.cli.ui._serve", lambda command: calls.append(command) or 0)

    answer = command("ablations", "ui", "--port", "5123")

    [call] = calls
    assert call[1:4] == ["-m", "mlflow", "ui"]
    assert f"sqlite:///{tmp_path}/runs/mlflow.db" in call
    assert {"127.0.0.1", "5123"} <= set(call)
    assert f"kernels, by variant: http://127.0.0.1:5123/{path}" in answer.out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_user_interface_stops_with_its_command(
    command: Callable[..., Answer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
) -> None:
    """MLflow's server is several processes; one that stays would keep the port."""
    (tmp_path / "runs" / "mlflow.db").write_bytes(b"")
    monkeypatch.setattr("ablations.tracking.list_views", lambda _: [])
    script = "sleep 600 & echo $! > started; mv started worker; wait"
    monkeypatch.setattr("ablations.cli.ui._make_command", lambda *_: ["sh", "-c", script])
    worker, wait = tmp_path / "worker", subprocess.Popen.wait

    def be_stopped(_: object) -> None:
        monkeypatch.setattr(subprocess.Popen, "wait", wait)
        while not worker.exists():
            time.sleep(0.05)
        signal.raise_signal(number)

    monkeypatch.setattr(subprocess.Popen, "wait", be_stopped)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    answer = command("ablations", "ui")
    signal.signal(signal.SIGINT, before)

    assert answer.code == code
    process = Path("/proc", worker.read_text().strip(), "cmdline")
    deadline = time.monotonic() + 60
    while process.exists() and process.read_bytes():  # that of a process nobody waited for is empty
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", (0,)), ("0,2", (0, 2)), ("0-2", (0, 1, 2)), ("7, 1-2", (7, 1, 2))]
)
def test_lists_of_seeds(text: str, seeds: tuple[int, ...]) -> None:
    """Single ones and ranges."""
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "3", "0/2", "3/2", "1/0", "a/b", "-1/2", "1/2/3"])
def test_impossible_shards(command: Callable[..., Answer], text: str) -> None:
    """One message, and nothing is trained."""
    answer = command("run-ablation", "attention", f"--shard={text}")

    assert answer.code == 2
    assert "--shard must be I/N" in answer.err


def test_a_shard_cannot_decide(command: Callable[..., Answer]) -> None:
    """A look needs the trials of all shards."""
    answer = command("run-ablation", "attention", "--shard", "1/2", "--until-decided")

    assert answer.code == 2
    assert "Merge them, then decide." in answer.err


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "a",
            "1-",
            "-1",
            "0,0",
            "2-1",
            "1;2",
            "1,5-1",
            "0,",
            "0x1",
            "\u0663",
            "0-\u0669",
            "\u00b2",
        ),
        *("0-99999999999999", "0-100000000", "0-10000", "9" * 5000, "0-9999,20000", "0-9999,5"),
    ],
)
def test_impossible_lists_of_seeds(text: str) -> None:
    """None of them is read as something else."""
    with pytest.raises(InputError, match="--seeds"):
        parse_seeds(text)


@pytest.mark.parametrize("arguments", [("--seeds", "0-9999"), ("--set", "seeds=[4294967296]")])
def test_seeds_of_the_command_line_have_the_bounds_of_the_file(
    command: Callable[..., Answer], arguments: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan of millions of trials would take minutes to refuse."""
    monkeypatch.setattr("ablations.reconcile.plans.MOST_TRIALS", 100)

    answer = command("ablations", "plan", "attention", *arguments)

    assert answer.code == 2
    assert "a plan may have 100 trials" in answer.err or "less than or equal to 429" in answer.err


@pytest.mark.parametrize("value", ["a" * 81, "\x1b[2J", "a\nb", "\ud800"])
def test_settings_of_the_command_line_are_short_printable_labels(
    command: Callable[..., Answer], value: str
) -> None:
    """They are part of the name of the recipe, in tables, files and MLflow."""
    answer = command("ablations", "plan", "attention", "--set", f"body={value}")

    assert answer.code == 2
    assert "--set body: must be at most 80 printable characters" in answer.err
    assert answer.err.replace("\n", "").isprintable()


def test_a_file_in_place_of_the_results_is_reported_with_nothing_to_train(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    """Otherwise the table would be printed, and written nowhere."""
    local = ("run-ablation", "attention", "--backend", "local", "--tracking-uri", "off")
    command(*local)

    answer = command(*local, "--results-dir", "experiments.yaml/x")

    assert answer.code == 3
    assert "experiments.yaml/x must be a writable folder, but" in answer.err
    assert (tmp_path / "experiments.yaml").is_file()


def test_a_path_that_is_too_long_is_reported(command: Callable[..., Answer]) -> None:
    """The system refuses it wherever it is first used."""
    answer = command("ablations", "status", "--runs-dir", "a" * 300)

    assert answer.code == 2
    assert "File name too long. Pass another path." in answer.err


@pytest.mark.parametrize("program", [("ablations", "plan"), ("run-ablation",)])
def test_the_whole_stack_trace_is_shown_on_demand(
    command: Callable[..., Answer], program: tuple[str, ...]
) -> None:
    """Authors of modules may need it; the message and the exit code stay."""
    brief = command(*program, "absent")

    whole = command(*program, "absent", "--debug")

    assert brief.code == whole.code == 2
    assert "Traceback" in whole.err
    assert "Traceback" not in brief.err
    assert whole.err.endswith(brief.err)


def test_a_variable_asks_for_stack_traces_too(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a job script it is set once for all commands."""
    monkeypatch.setenv("ABLATIONS_DEBUG", "1")

    answer = command("ablations", "status", "absent")

    assert answer.code == 2
    assert "Traceback" in answer.err


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """`kill -9` of the driver costs at most the epochs under way; the table is the same."""
    command = [
        *(sys.executable, "-c", "from ablations.cli import main_run; main_run()"),
        *("dilation_group", "--recipe", "smoke", "--tracking-uri", "off"),
    ]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    subprocess.run(command, cwd=tmp_path / "a", check=True, capture_output=True)
    driver = subprocess.Popen(
        command, cwd=tmp_path / "b", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not list(tmp_path.glob("b/runs/trials/*/record.json")):
        time.sleep(0.2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("b/runs/trials/*/*")}

    subprocess.run(command, cwd=tmp_path / "b", check=True, capture_output=True)

    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    tables = [tmp_path / run / "results/dilation_group/smoke/table.csv" for run in "ab"]
    assert tables[0].read_text() == tables[1].read_text()


def test_a_plan_counts_declared_excluded_and_duplicate_variants(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    """For people and for programs."""
    (tmp_path / "experiments.yaml").write_text(
        EXPERIMENTS
        + """
  axes:
    question: Which?
    expect: None.
    baseline: softmax, r=8
    grid: {attention: [sum, softmax], reduction: [8, 2, 1]}
    exclude: [{attention: sum, reduction: 1}]
"""
    )

    printed = command("ablations", "plan", "axes")
    listed = json.loads(command("ablations", "plan", "axes", "--json").out)[0]["matrix"]

    assert (
        "Variants: 6 declared, 1 excluded, 1 duplicate, 4 left; left out: sum, r=1; sum, r=2."
        in printed.out
    )
    assert listed["raw"] == 6
    assert listed["final"] == ["sum, r=8", "softmax, r=8", "softmax, r=2", "softmax, r=1"]


@pytest.mark.parametrize(
    ("complete", "text", "names"),
    [
        (options.complete_experiment, "ker", ["kernels"]),
        (options.complete_recipe, "", ["quick"]),
        (options.complete_variant, "3x3, D=1", ["3x3, D=1, G=32"]),
    ],
)
@pytest.mark.usefixtures("command")
def test_the_shell_completes_names(
    complete: Callable[..., list[str]], text: str, names: list[str]
) -> None:
    """Experiments, recipes and variants come from the file that a run would use."""
    context = typer.Context(typer.main.get_command(app), info_name="ablations")

    assert complete(context, text) == names


def test_a_broken_file_completes_nothing(command: Callable[..., Answer], tmp_path: Path) -> None:
    """Completion must not print a message into the command that is being typed."""
    assert command
    (tmp_path / "experiments.yaml").write_text("experiments: [")
    context = typer.Context(typer.main.get_command(app), info_name="ablations")

    assert options.complete_experiment(context, "ker") == []


@pytest.mark.parametrize("arguments", [("--help",), ("list",)])
def test_help_and_list_load_nothing_heavy(arguments: tuple[str, ...]) -> None:
    """They answer at once."""
    code = """
import sys
from ablations.cli import main
try:
    main()
finally:
    heavy = {"torch", "ray", "mlflow", "pandas", "scipy", "matplotlib", "fvcore"}
    print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )

    assert done.stderr.strip().splitlines()[-1] == "[]"
