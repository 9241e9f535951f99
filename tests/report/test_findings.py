"""The page of findings: what holds where, and what is open."""

from dataclasses import replace
from pathlib import Path

import pytest

from ablations.report.findings import build_findings_chart, render_findings
from ablations.statistics import Evidence, Judgement
from ablations.study import read_export
from ablations.tables import Entry, build_table, collect_claims, compare_recipes, list_open

ROOT = Path(__file__).parents[2]


def read_entry(experiment: str, *, recipe: str = "quick", dataset: str = "digits") -> Entry:
    """A committed study with its table, under the name of another recipe and dataset."""
    study = read_export(ROOT / "results" / experiment / "quick")
    definition = study.definition
    renamed = replace(
        definition, recipe_name=recipe, dataset=replace(definition.dataset, name=dataset)
    )
    study = replace(study, definition=renamed)
    return study, build_table(study)


def judge(entry: Entry, **words: str) -> Entry:
    """The entry with these verdicts on claims instead of its own."""
    study, table = entry
    part = Evidence(
        statement="a better than b", n=5, difference=-0.5, half_width=0.25, p_for=0, p_against=1
    )
    claims = tuple(
        Judgement(name=name, word=word, scope="", p_corrected=0.01, parts=(part,))  # type: ignore[arg-type]
        for name, word in words.items()
    )
    return study, replace(table, claims=claims)


def render(*entries: Entry) -> str:
    """The page of some studies."""
    return render_findings(entries, build_findings_chart(entries))


def read_group(page: str, title: str) -> list[str]:
    """The claims that the page lists below a title, or beside it if there are none."""
    rest = page.partition(f"{title}: ")[2].splitlines()
    count = rest[0].rstrip(".")
    listed: list[str] = []
    for line in rest[2:]:
        if not line.startswith("- "):
            break
        listed.append(line.removeprefix("- "))
    assert count == (str(len(listed)) if listed and count != "none" else "none")
    return [] if count == "none" else listed


def test_claims_are_grouped_by_what_all_datasets_say() -> None:
    """A claim that one dataset leaves open is not counted as holding on all."""
    digits = judge(
        read_entry("branches", recipe="a"),
        both="supported",
        mixed="supported",
        half="undecided",
        none="undecided",
        refuted="contradicted",
    )
    other = judge(
        read_entry("branches", recipe="b", dataset="photographs"),
        both="supported",
        mixed="contradicted",
        half="supported",
        none="undecided",
        refuted="contradicted",
    )

    page = render(digits, other)

    everywhere = "on every dataset they were tested on"
    assert read_group(page, f"Supported {everywhere}") == ["branches: both"]
    assert read_group(page, f"Contradicted {everywhere}") == ["branches: refuted"]
    assert read_group(page, "Supported on one dataset and contradicted on another") == [
        "branches: mixed (a supported, b contradicted)"
    ]
    assert read_group(page, "Supported on some, undecided on the others") == [
        "branches: half (a undecided, b supported)"
    ]
    assert read_group(page, "Contradicted on some, undecided on the others") == []
    assert read_group(page, "Undecided on all") == ["branches: none"]


def test_claims_of_one_dataset_are_in_no_group() -> None:
    """Two recipes on the same images are not two datasets."""
    entries = [read_entry("branches", recipe=name) for name in ("a", "b")]

    assert "several datasets" not in render(*entries)


def test_verdicts_stand_beside_their_numbers() -> None:
    """One column per recipe; a claim that a recipe did not test has a dash."""
    first = judge(read_entry("branches", recipe="a"), both="supported", one="undecided")
    second = judge(read_entry("branches", recipe="b", dataset="photographs"), both="supported")

    page = render(first, second)

    cell = "supported, n=5: -0.50 ± 0.25"
    assert "| experiment | claim | a (digits, tiny) | b (photographs, tiny) |" in page
    assert f"| both | {cell} | {cell} |" in page
    assert "| one | undecided, n=5: -0.50 ± 0.25 | – |" in page


def test_exploratory_verdicts_are_marked() -> None:
    """The error rate does not hold for a table that was looked at more often than planned."""
    study, table = judge(read_entry("branches", recipe="a"), both="supported")
    other = judge(read_entry("branches", recipe="b", dataset="photographs"), both="supported")

    page = render((study, replace(table, exploratory=True)), other)

    assert "| both | supported (exploratory), n=5: -0.50 ± 0.25 | supported, n=5:" in page
    assert "- branches: both (a supported (exploratory), b supported)" in page


def test_shared_trials_are_counted_once() -> None:
    """Two tables of the same trials are no independent evidence."""
    study, table = read_entry("branches")
    trials = len(study.list_finished())

    page = render((study, table), (study, table))

    assert f"contain {trials} different trials, {2 * trials} if" in page


def test_several_statements_have_the_range_of_their_differences() -> None:
    """The smallest and the largest one, as the table of the experiment has them."""
    entry = read_entry("depth_width_cardinality")
    [claim] = [c for c in entry[1].claims if len(c.parts) > 1]
    differences = sorted(part.difference for part in claim.parts if part.difference is not None)

    page = render(entry)

    assert f"supported, n=3: {differences[0]:+.2f} to {differences[-1]:+.2f} |" in page


def test_only_open_studies_have_a_price() -> None:
    """At least the trials of the next look, at most those of all looks."""
    decided, undecided = read_entry("se_squeeze"), read_entry("sk_reduction")

    [found] = list_open([decided, undecided])

    path = undecided[1].path
    assert found.study is undecided[0]
    assert (found.rows, found.claims) == (len(path.open_rows), len(path.open_claims))
    assert found.next_look == 5
    seconds = {
        name: [r.seconds for t, r in found.study.list_finished() if t.variant == name]
        for name in path.needed
    }
    means = {name: sum(values) / len(values) for name, values in seconds.items()}
    assert found.price.best == pytest.approx(2 * sum(means.values()))  # 3 seeds of 5 are there
    assert found.price.worst == pytest.approx(17 * sum(means.values()))  # of 20


def test_trials_of_other_tables_cost_nothing() -> None:
    """The next look at all kernels is mostly in the table of attention against summation."""
    own, other = read_entry("kernel_combination"), read_entry("attention_vs_summation")

    [alone] = list_open([own])
    together, _ = list_open([own, other])

    assert together.price.best < 0.5 * alone.price.best
    assert together.price.worst < alone.price.worst


def test_recipes_are_compared_on_the_variants_they_share() -> None:
    """A recipe agrees fully with itself, and tables of fewer than four rows are left out."""
    names = "kernel_combination", "se_squeeze"
    entries = [read_entry(name, recipe=recipe) for name in names for recipe in ("a", "b")]

    [pair] = compare_recipes(entries)

    assert (pair.experiment, pair.recipe, pair.agreement.reference) == (names[0], "a", "b")
    assert pair.agreement.tau == 1
    assert pair.agreement.rows == 11
    interval = pair.agreement.interval
    assert interval is not None
    assert 0.7 < interval[0] < 1  # the seeds of the two are sampled apart


def test_agreements_with_the_papers_are_listed() -> None:
    """One row per table with enough printed errors, and no section without such a table."""
    entries = [read_entry(name) for name in ("imagenet", "cifar", "branches")]

    section = render(*entries).partition("## Agreement with the papers")[2]

    rows = [line for line in section.splitlines() if line.startswith("| [")]
    agreement = entries[0][1].agreement
    assert agreement is not None
    assert rows[0] == (
        "| [imagenet](imagenet/quick/table.md) | quick | ImageNet top-1 error | 10 "
        f"| {agreement.tau:.2f} | {agreement.interval_text} | {agreement.p_text} |"
    )
    assert "| CIFAR-10 error | 5 |" in rows[1]
    assert len(rows) == 2
    assert "Agreement" not in render(entries[2])


def test_the_figure_shows_the_claims_of_several_datasets() -> None:
    """All of their statements on each recipe; claims of one dataset only if there are no others."""
    shared = [
        read_entry("branches", recipe="a"),
        read_entry("branches", recipe="b", dataset="photographs"),
    ]
    alone = read_entry("sk_reduction", recipe="a")

    both, single = build_findings_chart([*shared, alone]), build_findings_chart([alone])

    assert both is not None
    assert single is not None
    statements = sum(len(claim.parts) for claim in shared[0][1].claims)
    assert set(both.data["experiment"]) == {"branches"}
    assert len(both.data) == 2 * statements
    assert set(single.data["experiment"]) == {"sk_reduction"}
    assert len(collect_claims([*shared, alone])) == statements + 1
