"""Tables: rows, columns, cells, notes, claims, and their renderings."""

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from example_table import HOSTILE, make_rows, make_table
from scipy.stats import kendalltau
from studies import COMPLEXITY, PAPER, make_clear_records, make_plan, make_records, make_study

from ablations.config import Claim, Explanation, PaperRow, PaperTable, Recipe
from ablations.data.catalogue import Dataset
from ablations.plans import Plan
from ablations.study import Study, read_export
from ablations.tables import (
    Table,
    build_table,
    format_cells,
    format_compact,
    list_curves,
    list_environments,
    list_trials,
    render_csv,
    render_markdown,
)
from ablations.trial.records import TrialRecord


def build(plan: Plan, records: dict[str, TrialRecord], **settings: Any) -> Table:
    """Builds the table of the three variants."""
    return build_table(make_study(plan, records, **settings))


def test_rows_are_in_the_papers_order(recipe: Recipe, dataset: Dataset) -> None:
    """With the printed cells beside ours, where there are any."""
    plan = make_plan(recipe, dataset)

    rows = build(plan, make_records(plan)).rows

    assert list(rows.index) == ["base", "other", "extra"]
    assert rows["paper_top1_error"].tolist()[:2] == [20.79, 20.8]
    assert np.isnan(rows.loc["extra", "paper_top1_error"])
    assert rows["top1_error"].tolist() == [4.5, 4.0, 3.5]
    assert rows["difference"].tolist() == [0.0, -0.5, -1.0]
    assert (rows["n"] == 2).all()


def test_cells_are_rounded_and_carry_their_interval(recipe: Recipe, dataset: Dataset) -> None:
    """The CSV has ten digits, without those that depend on the machine."""
    plan = make_plan(recipe, dataset)
    table = build(plan, make_records(plan))

    [baseline, other, extra] = format_cells(table)

    assert baseline[1:6] == ["20.79", "27.5", "4.47", "1.23", "2.35"]
    assert baseline[-2:] == ["baseline", "–"]
    assert other[-4].startswith("4.00 ± 12.71")
    assert other[-2].startswith("-0.50 ± ")
    assert other[-1] == "undecided"
    assert extra[1:4] == ["–", "–", "–"]
    assert "2.345" in render_csv(table)
    assert str(table.rows.loc["other", "top1_error_half_width"]) not in render_csv(table)
    assert f"{table.rows.loc['other', 'top1_error_half_width']:.10g}" in render_csv(table)


def test_the_notes_account_for_every_trial(recipe: Recipe, dataset: Dataset) -> None:
    """Finished, failed, diverged and skipped, with reasons."""
    plan = make_plan(recipe, dataset, states={"other": "failed", "extra": "skipped"})
    records = {
        trial.spec.key: record
        for trial, record in zip(plan.trials, make_records(plan).values(), strict=True)
        if trial.state == "finished"
    }

    table = build(plan, records)

    assert table.notes[0] == "Trials: 2 of 6 finished, 2 failed, 2 skipped."
    assert "other, seed 0: failed, a reason." in table.notes
    assert list(table.rows.index) == ["base", "other"]
    assert table.rows.loc["other", "n"] == 0


def test_a_skipped_row_belongs_to_the_family(recipe: Recipe, dataset: Dataset) -> None:
    """Its finished trials narrow the intervals of the rows that are shown."""
    whole, narrowed = (
        make_plan(recipe, dataset),
        make_plan(recipe, dataset, states={"extra": "skipped"}),
    )
    records = make_records(whole)

    shown = build(narrowed, records).rows

    assert list(shown.index) == ["base", "other"]
    expected = build(whole, records).rows.loc["other", "difference_half_width"]
    assert shown.loc["other", "difference_half_width"] == pytest.approx(expected)


def test_a_diverged_trial_has_no_error(recipe: Recipe, dataset: Dataset) -> None:
    """The error of its last epoch is meaningless."""
    plan = make_plan(recipe, dataset, states={"other": "diverged"})

    table = build(plan, make_records(plan, diverged=("other",)))

    assert table.rows.loc["other", "n"] == 0
    assert np.isnan(table.rows.loc["other", "top1_error"])
    assert "other, seed 0: diverged" in render_markdown(table)


def test_notes_state_the_origin_of_numbers(recipe: Recipe, dataset: Dataset) -> None:
    """Device, commit, checksum, sources, and explanations of printed complexities."""
    plan = make_plan(recipe, dataset)

    text = render_markdown(build(plan, make_records(plan)))

    assert "Trained on CPU x; torch 2; commit 0123456789ab with changes; matrix " in text
    assert f"SHA-256 {dataset.checksum[:12]}" in text
    assert "Printed other: params 1.3: counted differently." in text
    assert "Printed: A paper, Table 1; ImageNet." in text


def test_every_row_shows_its_verdict(recipe: Recipe, dataset: Dataset) -> None:
    """Next to its difference, in every form of the table."""
    plan = make_plan(recipe.model_copy(update={"seeds": (0, 1, 2)}), dataset)

    table = build(plan, make_clear_records(plan))

    assert table.rows["verdict"].dropna().tolist() == ["better", "equivalent"]
    assert list(table.headings)[-2:] == ["difference", "verdict"]
    assert table.headings["verdict"] == "quick: verdict"
    assert [cells[-1] for cells in format_cells(table)] == ["–", "better", "equivalent"]
    assert (table.rows["difference_p_holm"].dropna() < [0.05, 1.0]).all()
    assert {"difference_p_holm", "verdict"} <= set(render_csv(table).splitlines()[0].split(","))


def test_the_notes_explain_the_verdicts(recipe: Recipe, dataset: Dataset) -> None:
    """Method, margin, seeds needed and image noise."""
    plan = make_plan(recipe, dataset)

    text = render_markdown(build(plan, make_records(plan)))

    assert "at 5 % after Holm's correction over 2 rows" in text
    assert "the margin of ±0.5 points" in text
    assert "Undecided: other: n=2, a verdict needs at least 3 seeds." in text
    assert "Seeds needed at the observed spread. other: " in text
    assert re.search(r"bootstrap over 100 images\): other: 0\.\d\d; extra: 0\.\d\d\.", text)


def test_one_seed_gives_no_verdict(recipe: Recipe, dataset: Dataset) -> None:
    """McNemar's test compares the two networks instead."""
    plan = make_plan(recipe.model_copy(update={"seeds": (0,)}), dataset)

    table = build(plan, make_clear_records(plan))

    assert [cells[-1] for cells in format_cells(table)] == ["–"] * 3
    assert table.rows["mcnemar_p"].notna().tolist() == [False, True, True]
    assert "of these two networks, not of retraining" in render_markdown(table)


def test_a_row_with_a_diverged_seed_is_not_better(recipe: Recipe, dataset: Dataset) -> None:
    """The remaining seeds flatter the row."""
    plan = make_plan(recipe.model_copy(update={"seeds": (0, 1, 2, 3)}), dataset)
    records = make_clear_records(plan)
    key = next(trial.spec.key for trial in plan.trials if trial.variant.name == "other")
    epoch = replace(records[key].last, diverged=True, correct=None)
    records[key] = replace(records[key], epochs=(epoch,))

    table = build(plan, records)

    assert table.rows.loc["other", "verdict"] == "undecided"
    assert any("the row can only be called worse" in note for note in table.notes)


def test_claims_are_listed_below_the_table(recipe: Recipe, dataset: Dataset) -> None:
    """Each with verdict and scope."""
    plan = make_plan(recipe.model_copy(update={"seeds": (0, 1, 2)}), dataset)
    claims = (
        Claim(name="the other helps", better="other", than="base"),
        Claim(name="the extra helps more", better="extra", than="other"),
    )

    text = render_markdown(build(plan, make_clear_records(plan), claims=claims))

    scope = "(quick: synthetic, tiny, n=3)"
    assert f"- the other helps: supported {scope}" in text
    assert f"- the extra helps more: contradicted {scope}" in text


def test_a_table_from_further_looks_is_exploratory(recipe: Recipe, dataset: Dataset) -> None:
    """Title, scopes and notes say so."""
    plan = make_plan(recipe.model_copy(update={"seeds": (0, 1, 2, 3, 4)}), dataset)
    looks = ((0, 1, 2), (0, 1, 2, 3), (0, 1, 2, 3, 4))
    claims = (Claim(name="c", better="other", than="base"),)

    planned, further = (
        build(plan, make_records(plan), looks=looks[:1]),
        build(plan, make_records(plan), looks=looks, claims=claims),
    )

    assert planned.title == "e, recipe quick"
    assert further.title == "e, recipe quick, exploratory"
    assert further.claims[0].scope == "quick, exploratory: synthetic, tiny, n=5"
    assert any(note.startswith("Exploratory: ") for note in further.notes)


def test_mixed_devices_are_reported(recipe: Recipe, dataset: Dataset) -> None:
    """A difference might be due to the device."""
    plan = make_plan(recipe, dataset)
    records = make_records(plan)
    first = next(iter(records))
    environment = replace(records[first].environment, device="GPU y")
    records[first] = replace(records[first], environment=environment)

    assert "Trained on CPU x, GPU y (mixed" in render_markdown(build(plan, records))


def test_changes_are_reported(recipe: Recipe, dataset: Dataset) -> None:
    """The table of a narrowed run must not be mistaken for the whole one."""
    plan = replace(make_plan(recipe, dataset), changes=("--set epochs=1",))

    notes = build(plan, make_records(plan)).notes

    assert "Narrowed or altered: --set epochs=1." in notes


def test_a_number_leads_back_to_its_trials(recipe: Recipe, dataset: Dataset) -> None:
    """One row per trial, with its id."""
    plan = make_plan(recipe, dataset)

    trials = list_trials(make_study(plan, make_records(plan)))

    assert trials["trial"].tolist() == [trial.spec.key for trial in plan.trials]
    means = trials.groupby("variant", sort=False)["top1_error"].mean()
    pd.testing.assert_series_equal(
        means, build(plan, make_records(plan)).rows["top1_error"], check_names=False
    )


def test_curves_and_environments_are_those_of_the_table(recipe: Recipe, dataset: Dataset) -> None:
    """All epochs, and each environment with its number of trials, of the selected rows."""
    plan = make_plan(recipe, dataset, states={"extra": "skipped"})
    records = make_records(plan)
    first = next(iter(records))
    before, last = records[first].epochs
    elsewhere = replace(records[first].environment, commit=None)
    records[first] = replace(
        records[first], epochs=(replace(before, top1_error=9.0), last), environment=elsewhere
    )
    study = make_study(plan, records)

    curves, places = list_curves(study), list_environments(study)

    assert curves[["variant", "seed", "epoch", "top1_error"]].values.tolist() == [
        ["base", 0, 0, 9.0],
        ["base", 0, 1, 4.0],
        ["base", 1, 0, 5.0],
        ["base", 1, 1, 5.0],
        ["other", 0, 0, 3.0],
        ["other", 0, 1, 3.0],
        ["other", 1, 0, 5.0],
        ["other", 1, 1, 5.0],
    ]
    assert sorted(places["trials"]) == [1, 3]
    assert list_environments(make_study(plan, {})).empty


def test_markdown_is_a_table(recipe: Recipe, dataset: Dataset) -> None:
    """Every line has as many cells as the headings."""
    plan = make_plan(recipe, dataset)

    lines = render_markdown(build(plan, make_records(plan))).splitlines()

    body = [line for line in lines if line.startswith("|")]
    assert len(body) == 2 + 3
    assert len({line.count("|") for line in body}) == 1


def test_rows_that_are_only_printed_are_in_the_papers_order(
    recipe: Recipe, dataset: Dataset
) -> None:
    """Below the row above them in the paper, without numbers of ours."""
    plan = make_plan(recipe, dataset)
    rows = {
        "first": PaperRow(top1_error=Decimal("30.0")),
        "base": PAPER.rows["base"],
        "second": PaperRow(gflops=Decimal("1.00")),
        "third": PaperRow(params_m=Decimal("2.50")),
        "other": PAPER.rows["other"],
    }
    paper = (PAPER.model_copy(update={"rows": rows}),)

    ours = build(plan, make_records(plan), paper=paper)
    table = build(plan, make_records(plan), paper=paper, paper_rows="all")

    assert list(ours.rows.index) == ["base", "other", "extra"]
    assert list(table.rows.index) == ["first", "base", "second", "third", "other", "extra"]
    assert list(table.headings)[:3] == ["variant", "dilation", "paper_top1_error"]
    cells = dict(zip(table.rows.index, format_cells(table), strict=True))
    assert cells["third"] == ["third", "–", "–", "2.50", *["–"] * 10]
    assert cells["base"][:3] == ["base", "1", "20.79"]
    assert table.only_printed == ("first", "second", "third")
    assert "Printed only, not trained here: first; second; third." in table.notes
    assert list(table.rows.columns) == list(ours.rows.columns)
    pd.testing.assert_series_equal(
        table.rows["difference"].dropna(), ours.rows["difference"], check_names=False
    )


def test_a_later_table_fills_cells_that_the_earlier_leaves_empty(
    recipe: Recipe, dataset: Dataset
) -> None:
    """Each cell keeps its own explanation; the notes name both tables."""
    plan = make_plan(recipe, dataset)
    why = Explanation(ours=Decimal("1"), reason="says the later")
    later = PaperTable(
        source="Another paper, Table 2",
        provenance="unverified",
        rows={
            "other": PaperRow(
                params_m=Decimal("9.9"),
                mflops=Decimal("140.35"),
                gflops=Decimal("0.14"),
                explained={
                    "params_m": why,
                    "mflops": why,
                    "gflops": Explanation(ours=Decimal("0.15")),
                },
            ),
        },
    )

    table = build(plan, make_records(plan), paper=(PAPER, later))

    assert table.texts["paper_params_m", "other"] == "1.3"
    assert table.texts["paper_mflops", "other"] == "140.35"
    assert "Printed other: params 1.3: counted differently." in table.notes
    assert "Printed other: MFLOPs 140.35: says the later." in table.notes
    assert (
        "Printed other: GFLOPs 0.14: unverified: our count differs, and the printed number was not "
        "read in the paper."
    ) in table.notes
    assert "Printed: A paper, Table 1; ImageNet." in table.notes
    assert "Printed: Another paper, Table 2; unverified: recalled, not read." in table.notes


def test_every_kind_of_printed_error_has_a_column(recipe: Recipe, dataset: Dataset) -> None:
    """And a column of ours if our trials measure the same error; no other columns."""
    plan = make_plan(recipe, dataset)
    records = make_records(plan)
    rows = {
        "base": PaperRow(top1_error_320=Decimal("19.5"), cifar10_error=Decimal("3.47")),
        "other": PaperRow(top5_error=Decimal("6.00"), mflops=Decimal("41")),
    }
    for key, record in records.items():
        epoch = replace(record.last, top5_error=1.0 + record.seed)
        records[key] = replace(record, epochs=(epoch,))

    table = build(plan, records, paper=(PAPER.model_copy(update={"rows": rows}),))

    assert [heading for heading in table.headings.values() if heading.startswith("paper")] == [
        "paper: error at 320 %",
        "paper: top-5 error %",
        "paper: CIFAR-10 error %",
        "paper: MFLOPs (multiply-adds)",
    ]
    assert table.headings["top5_error"] == "quick: top-5 error %"
    assert table.rows["top5_error"].tolist() == [1.5, 1.5, 1.5]
    assert "top1_error_320" not in table.headings
    assert table.headings["paper_scale_mflops"] == "ours, paper's scale: MFLOPs (multiply-adds)"


def test_uncounted_operators_are_named(recipe: Recipe, dataset: Dataset) -> None:
    """A user's module may use operators that the counter does not know."""
    plan = make_plan(recipe, dataset)
    free, strange = (
        replace(COMPLEXITY, uncounted=names) for names in (("aten::add",), ("my::op",))
    )

    texts = [
        render_markdown(build(plan, make_records(plan), complexity=complexity))
        for complexity in (free, strange)
    ]

    assert ["my::op" in text for text in texts] == [False, True]
    assert "Not counted" not in texts[0]


def test_the_matrix_hash_changes_with_what_is_trained(recipe: Recipe, dataset: Dataset) -> None:
    """And with nothing else."""
    plan = make_plan(recipe, dataset)
    longer = make_plan(recipe.model_copy(update={"epochs": 3}), dataset)

    same = make_study(plan, {}, margin=0.1)
    hashes = {make_study(p, make_records(p)).definition.matrix_hash for p in (plan, longer)}

    assert len(hashes) == 2
    assert same.definition.matrix_hash in hashes
    assert f"matrix {same.definition.matrix_hash[:12]};" in build(plan, {}).notes[-1]


def test_the_compact_form_has_short_headings_and_no_empty_columns() -> None:
    """A column without a value is dropped; a long verdict is abbreviated."""
    rows = make_rows().assign(paper_top1_error=float("nan"))
    rows.loc[HOSTILE, "verdict"] = "worse, within the margin"

    compact = format_compact(make_table(rows=rows))

    assert compact.headings == ("variant", "error %", "difference", "verdict")
    assert compact.rows[:2] == (
        ("base", "3.48 ± 0.19", "baseline", "–"),
        (HOSTILE, "4.13 ± 0.36", "+0.65 ± 0.56", "worse*"),
    )


def test_brief_notes_contain_what_a_terminal_must_show(recipe: Recipe, dataset: Dataset) -> None:
    """What became of the trials, what ± means, the seeds needed, and where the method is."""
    plan = replace(
        make_plan(recipe, dataset, states={"extra": "failed"}), changes=("--set epochs=1",)
    )

    table = build(plan, make_records(plan))

    assert table.brief_notes == (
        "Trials: 4 of 6 finished, 2 failed.",
        "extra, seed 0: failed, a reason.",
        "extra, seed 1: failed, a reason.",
        "Narrowed or altered: --set epochs=1.",
        "± is a 95 % interval for retraining on this test set, over 2 seeds.",
        "To decide every row: more than 100 seeds guarantee a verdict; "
        "27 if the observed difference holds.",
        "Method: docs/statistics.md",
    )
    assert set(table.seeds_needed) == {"other", "extra"}


def read_study(name: str) -> Study:
    """The committed study of an experiment, with the quick recipe."""
    return read_export(ROOT / "results" / name / "quick")


@pytest.mark.parametrize("name", ["imagenet", "attention_vs_summation", "kernel_combination"])
def test_agreement_is_that_of_the_tables_own_columns(name: str) -> None:
    """Over the rows that have both errors, also if rows were decided by different seeds."""
    table = build_table(read_study(name))
    both = table.rows[["paper_top1_error", "top1_error"]].dropna()
    expected = kendalltau(both["paper_top1_error"], both["top1_error"]).statistic

    assert table.agreement is not None
    assert table.agreement.tau == pytest.approx(expected)
    assert table.agreement.rows == len(both)
    [note] = [note for note in table.notes if note.startswith("Agreement")]
    assert f"by ImageNet top-1 error: {table.agreement}. " in note
    assert "no verdict on the paper" in note
    [brief] = [note for note in table.brief_notes if note.startswith("Agreement")]
    assert f"tau-b = {expected:.2f} ({table.agreement.interval_text} resampled)" in brief
    assert len(brief) <= 100


@pytest.mark.parametrize(
    ("dataset_name", "cell"),
    [
        ("multiscale_digits", "cifar10_error"),
        ("cifar10", "cifar10_error"),
        ("cifar100", "cifar100_error"),
    ],
)
def test_agreement_is_with_the_error_on_the_recipes_dataset(dataset_name: str, cell: str) -> None:
    """If the paper prints it; a table for CIFAR prints no error on ImageNet."""
    study = read_study("cifar")
    dataset = replace(study.definition.dataset, name=dataset_name)

    table = build_table(replace(study, definition=replace(study.definition, dataset=dataset)))

    assert table.agreement is not None
    assert table.agreement.reference == cell


def test_too_few_printed_errors_give_no_agreement() -> None:
    """The paper prints errors for some of these rows only."""
    table = build_table(read_study("branches"))

    assert table.agreement is None
    assert not any(note.startswith("Agreement") for note in (*table.notes, *table.brief_notes))


def test_the_star_of_a_verdict_is_explained(recipe: Recipe, dataset: Dataset) -> None:
    """Only if a row is better or worse within the margin."""
    plan = make_plan(recipe.model_copy(update={"seeds": (0, 1, 2)}), dataset)

    small, clear = (build(plan, make_clear_records(plan), margin=margin) for margin in (2.5, 0.5))

    assert "* within the margin of ±2.5 points." in small.brief_notes
    assert not any(note.startswith("*") for note in clear.brief_notes)


def test_cells_with_another_provenance_than_their_table_are_named(
    recipe: Recipe, dataset: Dataset
) -> None:
    """A table quoted from elsewhere may contain cells that were not read."""
    row = PaperRow(top1_error=Decimal("20.79"), provenance={"top1_error": "unverified"})
    paper = PAPER.model_copy(update={"provenance": "secondary", "rows": {"base": row}})
    plan = make_plan(recipe, dataset)

    notes = build_table(make_study(plan, make_records(plan), paper=(paper,))).notes

    assert any("quoted by another publication" in note for note in notes)
    assert (
        "Other provenance than their table's: base (error %): unverified: recalled, not read."
        in notes
    )


def test_names_cannot_break_the_rows_of_markdown(recipe: Recipe, dataset: Dataset) -> None:
    """A bar or a line break in a name would end the cell or the row."""
    plan = make_plan(recipe, dataset)
    table = build_table(make_study(plan, make_records(plan), columns=()))
    table = replace(table, rows=table.rows.rename(index={"other": "a|b\nc"}))

    text = render_markdown(table)

    [row] = [line for line in text.splitlines() if r"a\|b c" in line]
    bars = re.findall(r"(?<!\\)\|", row)
    assert len(bars) == len(table.headings) + 1


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in (ROOT / "results").glob("*/*/provenance.json")})
)
def test_the_compact_table_fits_a_terminal(folder: Path) -> None:
    """100 columns hold what varies, both errors, the difference, the verdict and complexity."""
    compact = format_compact(build_table(read_export(folder)))

    widths = [max(map(len, cells)) for cells in zip(compact.headings, *compact.rows, strict=True)]
    assert sum(widths) + 2 * len(widths) <= 100
    assert {"error %", "difference", "verdict"} <= set(compact.headings)
