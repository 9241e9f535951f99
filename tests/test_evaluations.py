"""Evaluations of published weights: their files, and the tables that show them."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from published import IMAGES, make_evaluation
from studies import PAPER, make_plan, make_records, make_study

from ablations.config import PaperTable, Recipe
from ablations.data.catalogue import Dataset
from ablations.errors import IncompleteError
from ablations.evaluations import (
    Checkpoint,
    Errors,
    Evaluation,
    read_evaluations,
    select_evaluations,
    write_evaluation,
)
from ablations.files import write_changed
from ablations.study import Study, read_export, render_export
from ablations.tables import build_table, format_compact, render_csv, render_latex, render_markdown


def make_published(
    recipe: Recipe,
    dataset: Dataset,
    *evaluations: Evaluation,
    paper: tuple[PaperTable, ...] = (PAPER,),
) -> Study:
    """A study whose row `other` is SKNet-50, with evaluations of published weights."""
    plan = make_plan(recipe, dataset)
    return make_study(plan, make_records(plan), paper=paper, evaluations=evaluations)


def test_a_file_is_read_back(tmp_path: Path) -> None:
    """The numbers of images as they were counted."""
    evaluation = make_evaluation()

    path = write_evaluation(evaluation, tmp_path)

    assert path.name == f"{evaluation.key}.json"
    assert read_evaluations(tmp_path) == [evaluation]
    assert json.loads(path.read_text())["errors"][0]["top1"] == 10_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("10000", "10001"), "another checksum"),
        (lambda text: text.replace("sknet50.pth", "other.pth"), "another checksum"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "format 2 instead of 1"),
        (lambda text: text[:100], "Invalid JSON"),
        (lambda _: "[]", "should be an object"),
        (lambda _: "{}", "format None"),
    ],
)
def test_an_altered_file_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    """Before a number of it gets into a table."""
    path = write_evaluation(make_evaluation(), tmp_path)
    path.write_text(change(path.read_text()))

    with pytest.raises(IncompleteError, match=f"{path.name} is not what .*{message}"):
        read_evaluations(tmp_path)


@pytest.mark.parametrize(("top1", "top5"), [(50_001, 0), (10, 11), (10, -1)])
def test_impossible_counts_are_refused(top1: int, top5: int) -> None:
    """An image that is wrong among the best five is wrong at the first place, too."""
    errors = Errors(image_size=224, shorter_side=256, top1=top1, top5=top5)

    with pytest.raises(ValueError, match="at most 50000 images"):
        make_evaluation(errors=(errors,))


def test_errors_are_percent_of_the_images() -> None:
    """And unknown at a size that was not measured."""
    evaluation = make_evaluation(images=replace(IMAGES, count=20_000))

    assert evaluation.compute_error("top1", 224) == 50.0
    assert evaluation.compute_error("top5", 320) == 11.25
    assert math.isnan(evaluation.compute_error("top1", 299))


def test_only_a_repetition_has_the_same_file() -> None:
    """Another checkpoint, other images or another precision never replace an evaluation."""
    first = make_evaluation()
    others = [
        make_evaluation("resnet50"),
        make_evaluation(checkpoint=replace(first.checkpoint, sha256="ef" * 32)),
        make_evaluation(images=replace(IMAGES, sha256="ef" * 32)),
        make_evaluation(precision="bf16"),
    ]

    assert make_evaluation(evaluated_at=2.0, errors=()).key == first.key
    assert len({first.key, *(other.key for other in others)}) == 5


def test_the_latest_evaluation_of_a_network_counts() -> None:
    """In the order of the networks that were asked for, whatever the order of the files."""
    late, early = make_evaluation(evaluated_at=2.0), make_evaluation(evaluated_at=1.0)
    other, unasked = make_evaluation("resnet50"), make_evaluation("senet50")

    selected = select_evaluations(
        [late, early, unasked, other], [other.identity, late.identity, "unknown"]
    )

    assert selected == (other, late)


def test_a_table_shows_them_beside_the_papers_cells(recipe: Recipe, dataset: Dataset) -> None:
    """In the row with the same network, whatever its name; trained errors stay what they are."""
    plain = build_table(make_published(recipe, dataset))

    table = build_table(make_published(recipe, dataset, make_evaluation()))

    assert table.rows["published_top1_error"].dropna().to_dict() == {"other": 20.0}
    headings = list(table.headings)
    assert headings[headings.index("paper_gflops") + 1] == "published_top1_error"
    assert table.headings["published_top1_error"] == "published weights: error %"
    assert "published_top1_error_320" not in headings  # no paper prints it here
    assert table.rows.drop(columns="published_top1_error").equals(plain.rows)
    assert "published" in format_compact(table).headings
    assert "| 20.00 |" in render_markdown(table)
    assert "published weights" in render_latex(table)
    assert "published_top1_error" in render_csv(table)


@pytest.mark.parametrize("measure", ["top1_error_320", "top5_error"])
def test_further_errors_stand_beside_printed_ones(
    recipe: Recipe, dataset: Dataset, measure: str
) -> None:
    """At 320 pixels and top-5, where a paper prints them."""
    row = PAPER.rows["base"].model_copy(update={measure: "4.0"})
    paper = PAPER.model_copy(update={"rows": {**PAPER.rows, "base": row}})

    table = build_table(make_published(recipe, dataset, make_evaluation(), paper=(paper,)))

    expected = {"top1_error_320": 19.0, "top5_error": 5.0}[measure]
    assert table.rows.loc["other", f"published_{measure}"] == expected


def test_the_foot_names_the_checkpoint(recipe: Recipe, dataset: Dataset) -> None:
    """With what it was evaluated on, and that recipes differ."""
    checkpoint = Checkpoint(file="sk_ra.pth", sha256="0123456789abcdef" * 4, library="timm's SK")
    evaluation = make_evaluation(checkpoint=checkpoint)

    table = build_table(make_published(recipe, dataset, evaluation))

    notes = [note for note in table.notes if note.startswith("Published weights")]
    assert "recipes need not be the paper's (timm's are not)" in notes[0]
    assert notes[1] == (
        "Published weights of other: sk_ra.pth, SHA-256 0123456789ab, tensors named as in "
        "timm's SK; 50,000 images of 1,000 classes in val/ of imagenet, SHA-256 abababababab; "
        "centre crops of 224 from 256 pixels and 320 from 366 pixels; fp32, on a processor, "
        "torch 1; commit c0ffee."
    )
    assert any(note.startswith("published: ") for note in table.brief_notes)


@pytest.mark.parametrize(
    ("evaluation", "paper"),
    [
        (make_evaluation("resnet50"), (PAPER,)),
        (make_evaluation(identity="that of fewer classes"), (PAPER,)),
        (make_evaluation(), ()),
    ],
)
def test_other_tables_are_unchanged(
    recipe: Recipe, dataset: Dataset, evaluation: Evaluation, paper: tuple[PaperTable, ...]
) -> None:
    """To the byte: of other networks, and without errors of a paper to stand beside."""
    plain = make_published(recipe, dataset, paper=paper)

    study = make_published(recipe, dataset, evaluation, paper=paper)

    assert render_export(study) == render_export(plain)
    assert render_markdown(build_table(study)) == render_markdown(build_table(plain))
    assert b"evaluations" not in render_export(study)["provenance.json"]


def test_they_are_kept_with_the_results(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    """So a clone without runs/ derives the same table."""
    study = make_published(recipe, dataset, make_evaluation())
    write_changed(render_export(study), tmp_path)

    back = read_export(tmp_path)

    assert back.evaluations == (make_evaluation(),)
    assert back == study
