"""What is exported comes back whole, or one message says which file is not as it was written."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from studies import make_clear_records, make_plan, make_records, make_study

from ablations.config import Claim, Explanation, PaperRow, PaperTable, Recipe
from ablations.data.catalogue import Dataset
from ablations.errors import AblationError, IncompleteError, MachineError
from ablations.study.export import EXPORTED, read_export, render_export, write_export
from ablations.study.study import Study
from ablations.tables import build_table


@pytest.fixture
def study(recipe: Recipe, dataset: Dataset) -> Study:
    """Six trials of three variants: one failed, one diverged, the others with 40 outcomes."""
    plan = make_plan(recipe, dataset, states={"other": "failed"})
    records = make_clear_records(plan)
    first, last = plan.trials[0].spec.key, plan.trials[-1].spec.key
    epoch = records[first].last
    before = replace(epoch, is_last=False, correct=None, train_loss=0.1 + 0.2)
    records[first] = replace(records[first], epochs=(before, replace(epoch, epoch=1)))
    gone = replace(records[last].last, diverged=True, correct=None, top1_error_320=1 / 3)
    records[last] = replace(records[last], epochs=(gone,))
    for trial in plan.trials:
        if trial.state == "failed":
            del records[trial.spec.key]
    claims = (Claim(name="c", better="other", than="base"), Claim(name="d", best=("extra",)))
    return make_study(plan, records, claims=claims, looks=((0, 1), (0,)), columns=("dilation",))


def test_what_is_written_comes_back(study: Study, tmp_path: Path) -> None:
    """Equal in all, and the texts of times and memory, which equality passes over, too."""
    changed = write_export(study, tmp_path)

    back = read_export(tmp_path)

    assert changed == list(EXPORTED)
    assert {path.name for path in tmp_path.iterdir()} == set(EXPORTED)
    assert back == study
    assert render_export(back) == render_export(study)


def test_writing_again_changes_nothing(study: Study, tmp_path: Path) -> None:
    """Byte for byte: the archive holds no clock."""
    write_export(study, tmp_path)

    assert write_export(study, tmp_path) == []


def test_records_of_rows_that_were_not_asked_for_are_kept(
    recipe: Recipe, dataset: Dataset, tmp_path: Path
) -> None:
    """They belong to the family."""
    plan = make_plan(recipe, dataset, states={"extra": "skipped"})
    write_export(make_study(plan, make_records(plan)), tmp_path)

    back = read_export(tmp_path)

    assert [(t.state, t.record is None) for t in back.trials][-1] == ("skipped", False)


def test_files_are_plain(study: Study, tmp_path: Path) -> None:
    """A reader with a CSV reader, NumPy and JSON needs nothing of ours."""
    write_export(study, tmp_path)

    trials = (tmp_path / "trials.csv").read_text().splitlines()
    curves = (tmp_path / "curves.csv").read_text().splitlines()
    outcomes = np.load(tmp_path / "outcomes.npz")
    provenance = json.loads((tmp_path / "provenance.json").read_text())

    assert len(trials) == 1 + 6
    assert curves[0].startswith("trial,epoch,is_last,diverged,learning_rate,train_loss,top1_error")
    assert f"{0.1 + 0.2!r}" in curves[1]
    assert set(outcomes) == {t.key for t in study.trials if t.record and t.record.last.correct}
    assert np.unpackbits(outcomes[study.trials[0].key]).size == 40
    assert provenance["format"] == 1
    assert provenance["matrix_hash"] == study.definition.matrix_hash


@pytest.mark.parametrize("name", EXPORTED)
def test_a_missing_file_is_named(study: Study, tmp_path: Path, name: str) -> None:
    """With what to do."""
    write_export(study, tmp_path)
    (tmp_path / name).unlink()

    with pytest.raises(IncompleteError, match=rf"{name} must be as .* got no such file"):
        read_export(tmp_path)


@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.parametrize("content", [b"", b"{}", b"trial\nx\n", b"\xff\x00"])
def test_a_foreign_file_is_named(study: Study, tmp_path: Path, name: str, content: bytes) -> None:
    """Never a stack trace."""
    write_export(study, tmp_path)
    (tmp_path / name).write_bytes(content)

    with pytest.raises(IncompleteError, match=rf"{name} must be as .* Restore it from"):
        read_export(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"format": 1', '"format": 2', "format 2 where 1 is read"),
        ('"margin": 0.5', '"margin": "wide"', "definition.margin: Input should be a valid number"),
        ('"baseline": "base"', '"baseline": "other"', "another matrix hash"),
        ('"procedure": 1', '"procedure": 2', "trials.csv must be .* where its facts have the key"),
    ],
)
def test_what_does_not_fit_is_told(
    study: Study, tmp_path: Path, old: str, new: str, message: str
) -> None:
    """Also where it is well-formed."""
    write_export(study, tmp_path)
    path = tmp_path / "provenance.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))

    with pytest.raises(IncompleteError, match=message):
        read_export(tmp_path)


def test_an_edited_number_is_found(study: Study, tmp_path: Path) -> None:
    """Though the file is well-formed."""
    write_export(study, tmp_path)
    path = tmp_path / "curves.csv"
    path.write_text(path.read_text().replace("0.1,", "0.2,", 1))

    with pytest.raises(IncompleteError, match=r"curves.csv .* another checksum"):
        read_export(tmp_path)


def test_an_unwritable_folder_is_told(study: Study, tmp_path: Path) -> None:
    """Exit code 3."""
    (tmp_path / "file").write_text("")

    with pytest.raises(MachineError, match="--results-dir"):
        write_export(study, tmp_path / "file")


def test_messages_have_exit_codes() -> None:
    """A damaged file is a check that did not hold."""
    assert issubclass(IncompleteError, AblationError)
    assert IncompleteError.exit_code == 1


def test_the_order_of_keys_does_not_matter(
    recipe: Recipe, dataset: Dataset, tmp_path: Path
) -> None:
    """Files keep none: what is derived from them is what was derived before."""
    explained = {
        column: Explanation(ours=Decimal("1.0"), reason=f"{column} is counted otherwise")
        for column in ("params_m", "gflops")
    }
    row = PaperRow(gflops=Decimal("1.1"), params_m=Decimal("1.2"), explained=explained)
    paper = PaperTable(source="A paper", provenance="printed", rows={"other": row})
    plan = make_plan(recipe, dataset)
    study = make_study(plan, make_clear_records(plan), paper=(paper,))
    write_export(study, tmp_path)

    assert build_table(read_export(tmp_path)).notes == build_table(study).notes
