"""Results follow from their own records, and a check finds whatever does not."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import EXPERIMENTS, Answer, seal
from studies import COMPLEXITY, make_plan, make_records, make_study

from ablations.complexity.scales import Scales
from ablations.config import Recipe, read_config, read_paper
from ablations.data import catalogue
from ablations.data.catalogue import Dataset
from ablations.files import write_changed
from ablations.ledger import Findings
from ablations.plans import Plan
from ablations.reconcile.plans import Selection, draw_plan, mark_plan
from ablations.reconcile.results import write_overviews
from ablations.report import check_report, render_index, render_report
from ablations.study import StudiedDataset, build_study, read_export
from ablations.tables import build_table
from ablations.trial.records import TrialRecord
from ablations.workspace import Workspace

FOLDER = Path("results/kernels/quick")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Path:
    """Results of both experiments with invented errors, an index and a README; no runs/."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "experiments.yaml").write_text(EXPERIMENTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.DATASETS, "synthetic", dataset)
        for name in ("kernels", "attention"):
            write_results(folder, name)
    body = (folder / FOLDER / "table.md").read_text().partition("\n\n")[2]
    (folder / "README.md").write_text(
        f"Before.\n<!-- table: {FOLDER}/table.md -->\n{body}<!-- end of table -->\nAfter.\n"
    )
    return folder


@pytest.fixture
def results(made: Path, command: Callable[..., Answer], tmp_path: Path) -> Path:
    """A copy of these results in the working directory of commands."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    assert command("ablations", "report", "--all", "--check").code == 0
    return tmp_path


def write_results(
    folder: Path,
    name: str,
    *,
    change: Callable[[Plan, dict[str, TrialRecord]], Plan] = lambda plan, _: plan,
) -> None:
    """Writes what a run would have written if trials had measured what `make_records` returns."""
    config = read_config(folder / "experiments.yaml")
    workspace = Workspace(
        runs_dir=folder / "runs", results_dir=folder / "results", data_dir=folder / "data"
    )
    plan = draw_plan(config, name, Selection(), workspace=workspace)
    records = make_records(plan)
    plan = change(mark_plan(plan, Findings(records=records, failures={}, corrupt={})), records)
    scales = Scales(paper=COMPLEXITY, trained=COMPLEXITY)
    study = build_study(
        config.experiment(name),
        plan,
        records,
        scales={variant.name: scales for variant in plan.variants},
        paper=read_paper(),
        looks=((0, 1, 2),),
    )
    target = workspace.find_results(name, recipe_name="quick")
    write_changed(render_report(study, build_table(study), target), target)
    write_overviews(config, workspace)


def read_all(folder: Path) -> dict[str, bytes]:
    """Every file below the results, and the README beside them."""
    paths = [*(folder / "results").rglob("*"), folder / "README.md"]
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


def fail_the_last(plan: Plan, records: dict[str, TrialRecord]) -> Plan:
    """The plan with a trial that failed."""
    *others, last = plan.trials
    del records[last.spec.key]
    return replace(plan, trials=(*others, replace(last, state="failed", reason="no luck")))


def test_without_a_ledger_results_are_unchanged(
    results: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh clone has no runs/. Complexities are not counted again, so torch is not needed."""
    before = read_all(results)
    monkeypatch.setattr("ablations.reconcile.studies.count_scales", None)

    answer = command("ablations", "report", "--all")

    assert answer.code == 0
    assert answer.out.count("unchanged") == 2
    assert read_all(results) == before


def test_shared_trials_alone_make_no_results(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    """SK is a row of both experiments, but only one of them was run."""
    local = ("--backend", "local", "--tracking-uri", "off")
    command("run-ablation", "kernels", *local, "--results-dir", "elsewhere")

    answer = command("ablations", "report", "--all")

    assert answer.code == 0
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        *("kernels", "README.md", "findings.md")
    }


def test_derived_files_are_regenerated(results: Path, command: Callable[..., Answer]) -> None:
    """From the four exported files alone: tables, index, README."""
    before = read_all(results)
    derived = ["table.md", "table.csv", "table.tex", "summary.md", "report.html"]
    for name in (*(FOLDER / name for name in derived), Path("results/README.md")):
        (results / name).unlink()
    readme = results / "README.md"
    readme.write_text(re.sub("(?s)-->\n.*<!--", "-->\nold\n<!--", readme.read_text()))

    answer = command("ablations", "report", "kernels", "--json")

    [study] = json.loads(answer.out)["studies"]
    assert study["written"] == derived
    assert study["count"] == {"finished": 6}
    assert read_all(results) == before


def edit(old: str, new: str, name: str) -> Callable[[Path], None]:
    """An edit that replaces `old` in a file."""

    def change(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (edit("20.79", "20.70", f"{FOLDER}/table.md"), "table.md: edited or out of date"),
        (edit("20.79", "20.70", f"{FOLDER}/table.csv"), "table.csv: edited or out of date"),
        (edit("20.79", "20.70", f"{FOLDER}/table.tex"), "table.tex: edited or out of date"),
        (edit("20.79", "20.70", f"{FOLDER}/report.html"), "report.html: edited or out of date"),
        (edit("error", "errors", f"{FOLDER}/errors.svg"), "errors.svg: edited or out of date"),
        (lambda folder: (folder / FOLDER / "cost.svg").unlink(), "cost.svg: missing"),
        (edit("finished", "failed", f"{FOLDER}/trials.csv"), "trials.csv is not what"),
        (edit("4.0", "3.0", f"{FOLDER}/curves.csv"), "curves.csv is not what"),
        (edit("Which", "What", f"{FOLDER}/provenance.json"), "table.md: edited or out of date"),
        (
            edit('"format"', ' "format"', f"{FOLDER}/provenance.json"),
            "differs from what its own records give",
        ),
        (lambda folder: (folder / FOLDER / "outcomes.npz").unlink(), "outcomes.npz is not what"),
        (lambda folder: (folder / FOLDER / "table.csv").unlink(), "table.csv: missing"),
        (lambda folder: (folder / FOLDER / "x.svg").touch(), "x.svg: does not belong there"),
        (
            lambda folder: (folder / FOLDER / "provenance.json").unlink(),
            "json: missing, nothing can be",
        ),
        (lambda folder: (folder / "results/kernel").mkdir(), "kernel: belongs to no experiment"),
        (lambda folder: (folder / "results/kernels/q").mkdir(), "q: belongs to no recipe"),
        (edit("6 finished", "7 finished", "results/README.md"), "README.md: edited or out of date"),
        (lambda folder: (folder / "results/README.md").unlink(), "README.md: missing"),
        (edit("20.79", "20.70", "README.md"), "README.md: its table differs from"),
        (edit("quick/table.md", "quack/table.md", "README.md"), "quack/table.md, which is missing"),
        (edit("Which second", "What second", "experiments.yaml"), "now differs in: question; run"),
        (
            edit("baseline: sum", "baseline: SK", "experiments.yaml"),
            "now differs in: baseline; run",
        ),
        (edit("seeds: [0, 1, 2]", "seeds: [0, 1, 2, 3]", "experiments.yaml"), "2 of 8 trials are"),
        (edit("epochs: 2", "epochs: 3", "experiments.yaml"), "6 of 6 trials are missing; train"),
    ],
)
def test_a_check_finds(
    results: Path,
    command: Callable[..., Answer],
    change: Callable[[Path], None],
    finding: str,
) -> None:
    """Whatever was edited, is out of date, missing or foreign is reported; nothing is written."""
    change(results)
    before = read_all(results)

    answer, data = (
        command("ablations", "report", "--all", "--check", *more) for more in ([], ["--json"])
    )

    assert answer.code == data.code == 1
    assert finding in answer.err
    assert any(finding in line for line in json.loads(data.out)["findings"])
    assert "Traceback" not in answer.err
    assert read_all(results) == before


def test_a_sealed_script_is_reported_and_replaced(
    results: Path, command: Callable[..., Answer]
) -> None:
    """Anyone can compute the digests in a drawing, and its text becomes part of report.html."""
    path = results / FOLDER / "errors.svg"
    before = path.read_text()
    path.write_text(seal(before.replace("</defs>", "<script>alert(1)</script></defs>", 1)))

    found = command("ablations", "report", "--all", "--check")
    written = command("ablations", "report", "--all")

    assert found.code == 1
    assert f"{FOLDER}/errors.svg: edited or out of date" in found.err
    assert written.code == 0
    assert path.read_text() == before
    assert "alert(1)" not in (results / FOLDER / "report.html").read_text()


def test_a_check_of_one_experiment_ignores_the_others(
    results: Path, command: Callable[..., Answer]
) -> None:
    """An edit elsewhere is not its concern."""
    edit("SK", "KS", "results/attention/quick/table.md")(results)

    assert command("ablations", "report", "kernels", "--check").code == 0
    assert command("ablations", "report", "attention", "--check").code == 1


def test_a_figure_of_the_same_data_is_kept(
    results: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is drawn, so matplotlib need not be the same version."""
    before = read_all(results)
    monkeypatch.setattr("ablations.figures.rendering.render_svg", None)

    assert command("ablations", "report", "--all").code == 0
    assert read_all(results) == before


def test_results_that_are_out_of_date_are_regenerated(
    results: Path, command: Callable[..., Answer]
) -> None:
    """A changed question needs no training; an added seed is reported as missing."""
    edit("Which second", "What second", "experiments.yaml")(results)
    edit("seeds: [0, 1, 2]", "seeds: [0, 1, 2, 3]", "experiments.yaml")(results)

    command("ablations", "report", "--all")

    table = (results / FOLDER / "table.md").read_text()
    assert "What second kernel?" in table
    assert "Trials: 6 of 8 finished, 2 to run." in table
    assert command("ablations", "report", "--all", "--check").code == 0


def test_a_failure_is_kept_in_the_results(results: Path, command: Callable[..., Answer]) -> None:
    """A machine without the ledger still reports it."""
    write_results(results, "kernels", change=fail_the_last)

    command("ablations", "report", "--all")

    assert "failed, no luck." in (results / FOLDER / "table.md").read_text()


def test_foreign_folders_and_old_results_are_left_alone(
    results: Path, command: Callable[..., Answer]
) -> None:
    """They are reported; a table without records is not replaced by an empty one."""
    (results / "results/old").mkdir()
    (results / FOLDER / "provenance.json").unlink()
    before = (results / FOLDER / "table.md").read_bytes()

    answer = command("ablations", "report", "--all")

    assert answer.code == 0
    assert "old: belongs to no experiment" in answer.err
    assert "provenance.json: missing" in answer.err
    assert (results / FOLDER / "table.md").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "either names of experiments or --all"),
        (("kernels", "--all"), 2, "either names of experiments or --all"),
        (("kernel",), 2, "did you mean kernels?"),
        (("kernels", "--recipe", "quik"), 2, "did you mean quick?"),
        (("kernels",), 1, "nothing is known of kernels; train with `run-ablation kernels`"),
        (("kernels", "--recipe", "quick"), 1, "`run-ablation kernels --recipe quick`"),
        (("kernels", "--check"), 1, "kernels: missing"),
        (("--all",), 0, "nothing to report: no experiment is whole in runs or results"),
        (("--all", "--check"), 1, "results: must hold results, got none"),
    ],
)
def test_bad_input_gets_one_message(
    command: Callable[..., Answer],
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    """Nothing is written."""
    answer = command("ablations", "report", *arguments)

    assert answer.code == code
    assert message in answer.err
    assert not (tmp_path / "results").exists()


def test_another_page_is_not_overwritten(results: Path, command: Callable[..., Answer]) -> None:
    """The folder may be the wrong one."""
    index = results / "results/README.md"
    index.write_text("# Mine")

    answer = command("ablations", "report", "--all")

    assert answer.code == 2
    assert "README.md must be generated by this program, got another page" in answer.err
    assert index.read_text() == "# Mine"


def test_damaged_records_are_not_overwritten(results: Path, command: Callable[..., Answer]) -> None:
    """They may exist nowhere else; a run reports them before it trains."""
    edit("4.0", "3.0", f"{FOLDER}/curves.csv")(results)
    before = read_all(results)

    answers = (
        command("ablations", "report", "kernels"),
        command("run-ablation", "kernels", "--backend", "local", "--tracking-uri", "off"),
    )

    for answer in answers:
        assert answer.code == 1
        assert "curves.csv is not what" in answer.err
    assert read_all(results) == before


def test_the_ledger_takes_precedence_over_results(
    results: Path, command: Callable[..., Answer]
) -> None:
    """A run replaces invented records; if its own are lost, what it wrote is kept."""
    arguments = ("kernels", "--backend", "local", "--tracking-uri", "off")
    command("run-ablation", *arguments)
    written = read_all(results)
    trained = read_export(results / FOLDER)
    lost = sorted(results.glob("runs/trials/*"))[0]
    lost.rename(results / "lost")

    again = command("ablations", "report", "kernels")

    assert {t.record.environment.device for t in trained.trials if t.record} != {"CPU x"}
    assert "6 finished" in again.out
    assert read_all(results).keys() == written.keys()
    assert (results / FOLDER / "table.md").read_bytes() == written[f"{results / FOLDER}/table.md"]


def test_the_index_links_every_table(results: Path) -> None:
    """With question, recipe, n, trials, verdicts and claims."""
    studies = [read_export(path.parent) for path in results.rglob("provenance.json")]

    index = render_index([(study, build_table(study)) for study in studies])

    for study in studies:
        link = f"{study.definition.experiment}/quick/table.md"
        row = next(line for line in index.splitlines() if line.startswith("|") and link in line)
        assert (results / "results" / link).is_file()
        assert f"| {study.definition.question} | quick | 3 | 6 finished | 1 undecided |" in row


def test_links_of_the_index_survive_any_name(recipe: Recipe, dataset: Dataset) -> None:
    """Brackets, spaces and pipes in a name do not end a link or a cell."""
    plan = replace(make_plan(recipe, dataset), experiment="a]|b (c)")
    study = make_study(plan, make_records(plan))

    [row] = [
        line
        for line in render_index([(study, build_table(study))]).splitlines()
        if line.startswith(r"| [a\]\|b (c)](a%5D%7Cb%20%28c%29/quick/table.md) |")
    ]

    assert "(a%5D%7Cb%20%28c%29/quick/report.html)" in row


def test_a_folder_can_be_checked_alone(results: Path) -> None:
    """Its location does not matter."""
    (results / "results/kernels/quick").rename(results / "elsewhere")

    assert check_report(results / "elsewhere") == []


def test_a_dataset_without_a_checksum_is_taken_from_the_results(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    """The machine that checks results need not have the folder of images."""
    path = tmp_path / "experiments.yaml"
    changes = {"dataset: synthetic": "dataset: imagenet", "input_size: 32": "input_size: 224"}
    for old, new in changes.items():
        path.write_text(path.read_text().replace(old, new))
    known = StudiedDataset(
        name="imagenet",
        identity="found:abc",
        is_pinned=False,
        found="abc",
        num_classes=5,
        train_size=10,
        test_size=6,
    )

    workspace = Workspace(data_dir=tmp_path)
    plan = draw_plan(read_config(path), "kernels", Selection(), workspace=workspace, known=known)

    dataset = plan.trials[0].spec.dataset
    assert (dataset.identity, dataset.test_size) == ("found:abc", 6)
    assert plan.variants[0].network.num_classes == 5
    assert command  # the fixture registers the datasets of this test
