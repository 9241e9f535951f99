"""A run takes planned looks: it trains what is open, resumes, and prices what follows."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import EXPERIMENTS, Answer

from ablations.config import alter_recipe, read_config
from ablations.errors import InputError

RUN = ("--backend", "local", "--tracking-uri", "off")
LOOKS = [3, 4, 6]


@pytest.fixture
def planned(command: Callable[..., Answer], tmp_path: Path) -> Callable[..., Answer]:
    """The command, in a folder whose recipe plans looks and whose margin nothing exceeds."""
    text = EXPERIMENTS.replace("seeds: [0, 1, 2]", f"looks: {LOOKS}")
    (tmp_path / "experiments.yaml").write_text(
        text.replace("    base: {", "    margin: 1e-6\n    base: {")
    )
    return command


def read_seeds(folder: Path) -> dict[str, list[int]]:
    """Seeds of the trials in a folder of results, by variant."""
    trials = pd.read_csv(folder / "trials.csv")
    return {str(name): sorted(own) for name, own in trials.groupby("variant")["seed"]}


def test_a_run_takes_the_first_look(planned: Callable[..., Answer], tmp_path: Path) -> None:
    """Later looks cost nothing until someone asks for them."""
    answer = planned("run-ablation", "attention", *RUN)

    assert answer.code == 0
    assert read_seeds(tmp_path / "results/attention/quick") == {"sum": [0, 1, 2], "SK": [0, 1, 2]}
    assert "Look 1 of 3, planned at n = 3, 4, 6." in answer.out
    assert "`run-ablation attention --until-decided` adds up to 3 seeds" in answer.out


def test_until_decided_takes_look_after_look(
    planned: Callable[..., Answer], tmp_path: Path
) -> None:
    """Every look but the last is printed on the way; the last one decides, or none is left."""
    answer = planned("run-ablation", "attention", "--until-decided", *RUN)

    assert answer.code == 0
    row = pd.read_csv(tmp_path / "results/attention/quick/table.csv", index_col="variant").loc["SK"]
    taken = [n for n in LOOKS if n <= row["n"]]
    assert read_seeds(tmp_path / "results/attention/quick") == {
        name: list(range(taken[-1])) for name in ("sum", "SK")
    }
    assert [n for n in LOOKS if f"look at n = {n}" in answer.out] == taken[:-1]
    if row["verdict"] == "undecided":
        assert taken == LOOKS
        assert pd.isna(row["decided_at"])
    else:
        assert row["decided_at"] == taken[-1]


def test_a_run_that_was_interrupted_resumes_at_its_look(planned: Callable[..., Answer]) -> None:
    """A look whose trials are incomplete is not taken; what was trained for it is kept."""
    planned("run-ablation", "attention", *RUN)
    planned("run-ablation", "attention", *RUN, "--seeds", "3", "--only", "SK")

    plain = planned("run-ablation", "attention", *RUN)
    plan = json.loads(planned("ablations", "plan", "attention", "--until-decided", "--json").out)

    assert "nothing to train" in plain.err
    assert "n = 4" not in plain.out.partition("Look 1")[0]
    assert plan[0]["count"]["to run"] == 1
    assert plan[0]["count"]["finished"] == 7


def test_looking_again_changes_nothing(planned: Callable[..., Answer]) -> None:
    """The table follows from the records, so `report --check` agrees with the run."""
    planned("run-ablation", "attention", "--until-decided", *RUN)

    again = planned("run-ablation", "attention", "--until-decided", *RUN)
    check = planned("ablations", "report", "--all", "--check")

    assert "nothing to train" in again.err
    assert "quick: unchanged" in again.err
    assert check.code == 0, check.err


def test_a_clone_without_records_regenerates_the_same_tables(
    planned: Callable[..., Answer], tmp_path: Path
) -> None:
    """The exported files hold every trial that the looks need."""
    planned("run-ablation", "attention", "--until-decided", *RUN)
    before = (tmp_path / "results/attention/quick/table.csv").read_bytes()
    (tmp_path / "runs").rename(tmp_path / "elsewhere")

    answer = planned("ablations", "report", "--all")

    assert answer.code == 0
    assert (tmp_path / "results/attention/quick/table.csv").read_bytes() == before


def test_results_of_another_machine_can_be_continued(
    planned: Callable[..., Answer], tmp_path: Path
) -> None:
    """`--reuse-results` trains only what the recorded looks lack."""
    planned("run-ablation", "attention", *RUN)
    first = pd.read_csv(tmp_path / "results/attention/quick/trials.csv")
    (tmp_path / "runs/trials").rename(tmp_path / "elsewhere")

    plain = json.loads(planned("ablations", "plan", "attention", "--json").out)
    again = planned("run-ablation", "attention", *RUN, "--reuse-results")
    plan = json.loads(planned("ablations", "plan", "attention", "--reuse-results", "--json").out)
    further = planned("run-ablation", "attention", *RUN, "--reuse-results", "--until-decided")

    assert plain[0]["count"]["to run"] == 6
    assert "nothing to train" in again.err
    assert plan[0]["count"]["finished"] == 6
    assert further.code == 0
    trials = pd.read_csv(tmp_path / "results/attention/quick/trials.csv")
    assert len(trials) > 6
    kept = trials[trials["trial"].isin(first["trial"])].sort_values("trial", ignore_index=True)
    pd.testing.assert_frame_equal(kept, first.sort_values("trial", ignore_index=True))
    trained = {path.name for path in (tmp_path / "runs/trials").iterdir()}
    assert trained == set(trials["trial"]) - set(first["trial"])


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        (["--only", "SK"], {"finished": 3, "skipped": 3}),
        (["--exclude", "SK"], {"finished": 3, "skipped": 3}),
        (["--seeds", "0-3"], {"finished": 6, "to run": 2}),
        (["--shard", "1/1"], {"finished": 6}),
        (["--set", "epochs=2"], {"finished": 6}),
        (["--set", "epochs=3"], {"to run": 6}),
    ],
)
def test_a_narrowed_or_altered_plan_reuses_what_it_shares(
    planned: Callable[..., Answer], tmp_path: Path, changes: list[str], counts: dict[str, int]
) -> None:
    """A trial's key decides, so that nothing is trained twice."""
    planned("run-ablation", "attention", *RUN)
    (tmp_path / "runs/trials").rename(tmp_path / "elsewhere")

    answer = planned("ablations", "plan", "attention", "--reuse-results", "--json", *changes)

    [plan] = json.loads(answer.out)
    assert {state: number for state, number in plan["count"].items() if number} == counts


def test_edited_results_are_not_reused(planned: Callable[..., Answer], tmp_path: Path) -> None:
    """Their checksums are verified first."""
    planned("run-ablation", "attention", *RUN)
    trials = tmp_path / "results/attention/quick/trials.csv"
    trials.write_text(trials.read_text().replace("finished", "diverged", 1))
    (tmp_path / "runs/trials").rename(tmp_path / "elsewhere")

    answer = planned("run-ablation", "attention", *RUN, "--reuse-results")

    assert answer.code == 1
    assert "another checksum than in provenance.json" in answer.err


def test_max_hours_stops_before_a_look_that_exceeds_them(
    planned: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was trained is kept and shown; that is no failure."""
    long = SimpleNamespace(hours=2.0)
    monkeypatch.setattr("ablations.reconcile.run.merge_estimates", lambda _: long)

    answer = planned("run-ablation", "attention", *RUN, "--until-decided", "--max-hours", "1")

    assert answer.code == 0
    assert "stopped before the next look: it would take 2 core or GPU hours" in caplog.text
    assert "Look 1 of 3" in answer.out


def test_results_are_consistent_when_a_run_is_interrupted_between_looks(
    planned: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index follows every look, not only the last."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ablations.cli.run._print_look", interrupt)

    stopped = planned("run-ablation", "attention", *RUN, "--until-decided")
    check = planned("ablations", "report", "--all", "--check")

    assert stopped.code == 130
    assert check.code == 0, check.err


def test_seeds_chosen_by_hand_are_exploratory_where_looks_are_planned(
    planned: Callable[..., Answer],
) -> None:
    """They are tested at the level of a single look (rule 21)."""
    answer = planned("run-ablation", "attention", *RUN, "--seeds", "0-3")

    assert "exploratory" in answer.out


def test_more_hours_than_allowed_are_refused_at_first(planned: Callable[..., Answer]) -> None:
    """As without looks."""
    planned("run-ablation", "attention", *RUN)

    answer = planned("run-ablation", "attention", *RUN, "--until-decided", "--max-hours", "1e-9")

    assert answer.code == 2
    assert "--max-hours must be at least" in answer.err


def test_a_plan_prices_all_looks(planned: Callable[..., Answer]) -> None:
    """The best case is the next look, the worst case every look; nothing is expected at first."""
    first = json.loads(planned("ablations", "plan", "attention", "--until-decided", "--json").out)
    planned("run-ablation", "attention", *RUN)
    later = json.loads(planned("ablations", "plan", "attention", "--until-decided", "--json").out)

    price = first[0]["until_decided"]
    assert price["expected"] is None
    assert price["worst"] == pytest.approx(2 * price["best"])  # 6 seeds instead of 3
    price = later[0]["until_decided"]
    assert price["best"] <= price["expected"] <= price["worst"]
    assert price["worst"] == pytest.approx(3 * price["best"])


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_has_one_step_per_look(planned: Callable[..., Answer], tmp_path: Path) -> None:
    """On the parent run; uploading again adds nothing."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    planned("run-ablation", "attention", "--backend", "local", "--tracking-uri", uri)
    options = ("--backend", "local", "--tracking-uri", uri, "--until-decided")
    planned("run-ablation", "attention", *options)
    planned("ablations", "sync", "attention", "--tracking-uri", uri)

    client = MlflowClient(uri)
    [experiment] = client.search_experiments(filter_string="name LIKE '%attention%'")
    runs = client.search_runs([experiment.experiment_id])
    [history] = [
        found
        for run in runs
        if (found := client.get_metric_history(run.info.run_id, "look/undecided_rows"))
    ]
    row = pd.read_csv(tmp_path / "results/attention/quick/table.csv", index_col="variant").loc["SK"]
    taken = [n for n in LOOKS if n <= row["n"]]
    assert [metric.step for metric in history] == taken
    assert [metric.value for metric in history[:-1]] == [1.0] * (len(taken) - 1)


def test_other_looks_after_a_look_are_exploratory(planned: Callable[..., Answer]) -> None:
    """Otherwise one could choose the looks by what the table says (rule 21)."""
    planned("run-ablation", "attention", *RUN)

    later = planned("run-ablation", "attention", *RUN, "--looks", "4,5")

    assert "exploratory" in later.out


def test_other_looks_may_be_planned_before_the_first(planned: Callable[..., Answer]) -> None:
    """Then they are as good as the recipe's."""
    answer = planned("run-ablation", "attention", *RUN, "--looks", "4,5")

    assert "Look 1 of 2, planned at n = 4, 5." in answer.out
    assert "exploratory" not in answer.out


@pytest.mark.parametrize(
    ("looks", "fault"),
    [
        ("5,3", "looks must increase from at least 3 seeds, got [5, 3]"),
        ("2,5", "looks must increase from at least 3 seeds, got [2, 5]"),
        ("3,x", "looks.1: Input should be a valid integer"),
        ("3,5000", "looks.1: Input should be less than or equal to 1000"),
        ("", "looks must hold at least one number of seeds"),
    ],
)
def test_impossible_looks_are_an_input_error(
    planned: Callable[..., Answer], looks: str, fault: str
) -> None:
    """One message, and nothing is written."""
    answer = planned("run-ablation", "attention", *RUN, "--looks", looks)

    assert answer.code == 2
    assert fault in answer.err
    assert len(answer.err.splitlines()) == 1


@pytest.mark.usefixtures("command")
def test_a_recipe_has_seeds_or_looks(tmp_path: Path) -> None:
    """Seeds follow from the looks, and replacing one replaces the other."""
    path = tmp_path / "experiments.yaml"
    path.write_text(EXPERIMENTS.replace("seeds: [0, 1, 2]", "looks: [3, 5]"))
    recipe = read_config(path).recipes["quick"]

    assert recipe.seeds == (0, 1, 2, 3, 4)
    assert alter_recipe(recipe, {"looks": [4, 8]}).seeds == tuple(range(8))
    assert alter_recipe(recipe, {"seeds": [7]}).planned_looks == (1,)
    assert alter_recipe(recipe, {"epochs": 3}).planned_looks == (3, 5)
    assert alter_recipe(recipe, {"epochs": 2}).facts == recipe.facts
    with pytest.raises(InputError, match="either seeds or looks"):
        alter_recipe(recipe, {"looks": [4, 8], "seeds": [1]})
