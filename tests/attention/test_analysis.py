"""What a recording says over seeds, as table, claims and figures; and how it is kept."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from recordings import make_recording

from ablations.attention import Recording, analyse_recording, read_recording, render_recording
from ablations.errors import IncompleteError
from ablations.figures import list_attention_charts, parse_svg, render_svg
from ablations.tables import render_attention_markdown, render_units_csv


def list_words(recording: Recording) -> list[str]:
    """The verdicts on the claims: by enlargement, then by object, each early and late."""
    return [claim.word for claim in analyse_recording(recording).claims]


@pytest.mark.parametrize(
    ("changes", "correlations", "words"),
    [
        ((0.1, 0.05, 0.0), (0.9, 0.8, 0.05), ["supported"] * 4),
        ((0.1, 0.05, 0.1), (0.9, 0.8, 0.7), ["supported", "contradicted"] * 2),
        ((0.1, -0.05, 0.0), (0.9, -0.8, 0.05), ["contradicted", "supported"] * 2),
        ((0.1, 0.001, 0.02), (0.9, 0.001, 0.1), ["undecided"] * 4),
    ],
)
def test_claims_are_judged_by_their_weakest_unit(
    changes: Sequence[float], correlations: Sequence[float], words: list[str]
) -> None:
    """All early units must rise, and those of the last stage must not."""
    assert list_words(make_recording(changes=changes, correlations=correlations)) == words


def test_too_few_seeds_decide_nothing() -> None:
    """As in tables: two have intervals, one has none, and neither a verdict."""
    two, one = make_recording(seeds=2), make_recording(seeds=1)

    assert list_words(two) == list_words(one) == ["undecided"] * 4
    assert {r.verdict and r.verdict.word for r in analyse_recording(two).interventions} == {
        "undecided"
    }
    assert {result.verdict for result in analyse_recording(one).interventions} == {None}
    assert "| no verdict | 1 |" in render_attention_markdown(analyse_recording(one))


def test_a_control_is_shown_beside_the_trained_networks() -> None:
    """Initial gates follow the size strongly, but now one way, now the other."""
    unit = analyse_recording(make_recording(seeds=4)).units[0]

    trained, untrained = unit.correlations["trained"], unit.correlations["untrained"]
    assert trained.mean - trained.half_width > 0.8
    assert abs(untrained.mean) < untrained.half_width
    assert unit.gain is not None
    assert unit.gain.mean == pytest.approx(trained.mean - untrained.mean)


def test_interventions_are_paired_by_seed() -> None:
    """Freezing costs 2 points in every seed, although the networks differ by more than that."""
    results = {r.intervention: r for r in analyse_recording(make_recording()).interventions}

    frozen, shuffled = results["mean"], results["shuffled"]
    assert frozen.difference.mean == pytest.approx(2.0)
    assert frozen.difference.half_width < 0.01
    assert frozen.verdict is not None
    assert frozen.verdict.word == "worse"
    assert shuffled.verdict is not None
    assert shuffled.verdict.word == "equivalent"


def test_the_table_says_everything() -> None:
    """Units, interventions, claims with their scope, what is missing, and what is left out."""
    text = render_attention_markdown(analyse_recording(make_recording()))

    assert "| SK | SK_2_1 | 3x3 + 5x5 | -0.100" in text
    assert "| SK | the mean over the test images | 8.00 | +2.00 ± 0.00 | worse | 3 |" in text
    assert "supported (quick: digits, tiny, n=3); SK_2_1 +0.100 ± 0.005, SK_3_1" in text
    assert "--set shuffled_labels=true" in text
    assert "The attention of sum is not recorded: it adds its kernels up." in text
    assert "is 6.0 % at 1x, 20.0 % at 1.5x, 40.0 % at 2x" in text


def test_unknown_sizes_are_left_out() -> None:
    """Most datasets know nothing of their objects; enlargement is always possible."""
    recording = make_recording()
    networks = tuple(
        replace(
            network,
            units=tuple(replace(unit, by_size=(), correlation=None) for unit in network.units),
        )
        for network in recording.networks
    )
    analysis = analyse_recording(replace(recording, networks=networks, sizes={}))

    assert len(analysis.claims) == 2
    assert "digits does not know the sizes of its objects." in render_attention_markdown(analysis)
    assert "sizes" not in {chart.name for chart in list_attention_charts(analysis)}
    assert "correlation" not in render_units_csv(analysis)


def test_figures_hold_only_what_figures_need() -> None:
    """They become part of the report."""
    charts = list_attention_charts(analyse_recording(make_recording()))

    assert [chart.name for chart in charts] == [
        *("sizes", "depth", "interventions", "classes", "montage")
    ]
    for chart in charts:
        parse_svg(render_svg(chart))


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Tables of another machine follow from it."""
    path = tmp_path / "records.json"
    recording = make_recording()

    path.write_bytes(render_recording(recording))

    assert read_recording(path) == recording
    assert render_recording(read_recording(path)) == path.read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"mean": 6.998', '"mean": 5.998', "another checksum"),
        ('"format": 1', '"format": 2', "format 2 instead of 1"),
        ('"networks"', '"network"', "another checksum"),
        ("{", "", "not what `ablations attention` wrote"),
    ],
)
def test_an_edited_recording_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Whatever was edited."""
    path = tmp_path / "records.json"
    text = render_recording(make_recording()).decode()
    assert old in text
    path.write_text(text.replace(old, new, 1))

    with pytest.raises(IncompleteError, match=message):
        read_recording(path)


def test_a_recording_is_plain_json() -> None:
    """Anyone can read it, with one line per network."""
    text = render_recording(make_recording()).decode()

    assert len(json.loads(text)["networks"]) == 6
    assert sum('"role"' in line for line in text.splitlines()) == 6
