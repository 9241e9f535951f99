"""An export is read back completely, or one message names the file that was changed."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies import make_plan, make_records, make_study

from ablations.config import Claim, Explanation, PaperRow, PaperTable, Recipe
from ablations.data.catalogue import Dataset
from ablations.errors import AblationError, IncompleteError, MachineError
from ablations.files import hash_file, write_changed
from ablations.study import EXPORTED, Study, read_export, render_export
from ablations.tables import build_table


def write_export(study: Study, folder: Path) -> list[str]:
    """Writes the files of a study; returns the names of those that changed."""
    return write_changed(render_export(study), folder)


@pytest.fixture
def study(recipe: Recipe, dataset: Dataset) -> Study:
    """Three variants with two seeds; one variant failed, one trial diverged."""
    plan = make_plan(recipe, dataset, states={"other": "failed"})
    records = make_records(plan)
    first, last = plan.trials[0].spec.key, plan.trials[-1].spec.key
    epoch = records[first].last
    before = replace(epoch, epoch=0, is_last=False, correct=None, train_loss=0.1 + 0.2)
    records[first] = replace(records[first], epochs=(before, epoch))
    gone = replace(records[last].last, epoch=0, diverged=True, correct=None, top1_error_320=1 / 3)
    records[last] = replace(records[last], epochs=(gone,))
    for trial in plan.trials:
        if trial.state == "failed":
            del records[trial.spec.key]
    claims = (Claim(name="c", better="other", than="base"), Claim(name="d", best=("extra",)))
    return make_study(plan, records, claims=claims, looks=((0, 1), (0,)), columns=("dilation",))


def test_an_export_is_read_back_completely(study: Study, tmp_path: Path) -> None:
    """Including times and memory, which equality of records ignores."""
    changed = write_export(study, tmp_path)

    back = read_export(tmp_path)

    assert changed == list(EXPORTED)
    assert {path.name for path in tmp_path.iterdir()} == set(EXPORTED)
    assert back == study
    assert render_export(back) == render_export(study)


def test_writing_again_changes_nothing(study: Study, tmp_path: Path) -> None:
    """Byte for byte: the archive has no time stamps."""
    write_export(study, tmp_path)

    assert write_export(study, tmp_path) == []


def test_records_of_variants_that_were_not_selected_are_kept(
    recipe: Recipe, dataset: Dataset, tmp_path: Path
) -> None:
    """They belong to the family."""
    plan = make_plan(recipe, dataset, states={"extra": "skipped"})
    write_export(make_study(plan, make_records(plan)), tmp_path)

    back = read_export(tmp_path)

    assert [(t.state, t.record is None) for t in back.trials][-1] == ("skipped", False)


def test_files_have_common_formats(study: Study, tmp_path: Path) -> None:
    """CSV, NumPy and JSON can be read without this package."""
    write_export(study, tmp_path)

    trials = (tmp_path / "trials.csv").read_text().splitlines()
    curves = (tmp_path / "curves.csv").read_text().splitlines()
    outcomes = np.load(tmp_path / "outcomes.npz")
    provenance = json.loads((tmp_path / "provenance.json").read_text())

    assert len(trials) == 1 + 6
    assert curves[0].startswith("trial,epoch,is_last,diverged,learning_rate,train_loss,top1_error")
    assert f"{0.1 + 0.2!r}" in curves[1]
    assert set(outcomes) == {t.key for t in study.trials if t.record and t.record.last.correct}
    assert np.unpackbits(outcomes[study.trials[0].key], count=100).sum() == 96
    assert provenance["format"] == 1
    assert provenance["matrix_hash"] == study.definition.matrix_hash


@pytest.mark.parametrize("name", EXPORTED)
def test_a_missing_file_is_named(study: Study, tmp_path: Path, name: str) -> None:
    """With advice."""
    write_export(study, tmp_path)
    (tmp_path / name).unlink()

    with pytest.raises(IncompleteError, match=rf"{name} is not what .*: no such file"):
        read_export(tmp_path)


@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.parametrize("content", [b"", b"{}", b"trial\nx\n", b"\xff\x00"])
def test_a_foreign_file_is_named(study: Study, tmp_path: Path, name: str, content: bytes) -> None:
    """Whatever it contains, there is no stack trace."""
    write_export(study, tmp_path)
    (tmp_path / name).write_bytes(content)

    with pytest.raises(IncompleteError, match=rf"{name} is not what .* Restore it from"):
        read_export(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"format": 1', '"format": 2', "format 2 instead of 1"),
        ('"margin": 0.5', '"margin": "wide"', "definition.margin: Input should be a valid number"),
        ('"baseline": "base"', '"baseline": "other"', "another matrix hash"),
        (
            '"procedure": 2',
            '"procedure": 3',
            "trials.csv is .*, but its facts have the key",
        ),
    ],
)
def test_inconsistent_files_are_reported(
    study: Study, tmp_path: Path, old: str, new: str, message: str
) -> None:
    """Even if they are well-formed."""
    write_export(study, tmp_path)
    path = tmp_path / "provenance.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))

    with pytest.raises(IncompleteError, match=message):
        read_export(tmp_path)


def test_an_edited_number_is_reported(study: Study, tmp_path: Path) -> None:
    """Even though the file is well-formed."""
    write_export(study, tmp_path)
    path = tmp_path / "curves.csv"
    path.write_text(path.read_text().replace("0.1,", "0.2,", 1))

    with pytest.raises(IncompleteError, match=r"curves.csv .* another checksum"):
        read_export(tmp_path)


def test_errors_that_the_outcomes_contradict_are_reported(study: Study, tmp_path: Path) -> None:
    """Even if the checksums were mended: tables are derived from the curves alone."""
    write_export(study, tmp_path)
    curves, provenance = tmp_path / "curves.csv", tmp_path / "provenance.json"
    epochs = pd.read_csv(curves)
    epochs.loc[epochs["is_last"] & ~epochs["diverged"], "top1_error"] = 0.5
    epochs.to_csv(curves, index=False)
    content = json.loads(provenance.read_text())
    content["sha256"]["curves.csv"] = hash_file(curves)
    provenance.write_text(json.dumps(content))

    with pytest.raises(IncompleteError, match=r"last top1_error must be .*, that of the outcomes"):
        read_export(tmp_path)


def test_an_unwritable_folder_is_reported(study: Study, tmp_path: Path) -> None:
    """The machine is at fault, exit code 3."""
    (tmp_path / "file").write_text("")

    with pytest.raises(MachineError, match="--results-dir"):
        write_export(study, tmp_path / "file")


def test_a_damaged_file_is_a_failed_check() -> None:
    """Exit code 1."""
    assert issubclass(IncompleteError, AblationError)
    assert IncompleteError.exit_code == 1


def test_the_order_of_keys_does_not_matter(
    recipe: Recipe, dataset: Dataset, tmp_path: Path
) -> None:
    """Files do not keep it, but everything derived from them stays the same."""
    explained = {
        column: Explanation(ours=Decimal("1.0"), reason=f"{column} is counted differently")
        for column in ("params_m", "gflops")
    }
    row = PaperRow(gflops=Decimal("1.1"), params_m=Decimal("1.2"), explained=explained)
    paper = PaperTable(source="A paper", provenance="printed", rows={"other": row})
    plan = make_plan(recipe, dataset)
    study = make_study(plan, make_records(plan), paper=(paper,))
    write_export(study, tmp_path)

    assert build_table(read_export(tmp_path)).notes == build_table(study).notes
