"""Proposals of equal cost: the papers' networks, and networks on a narrow body."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from conftest import Answer

from ablations.choices import Match
from ablations.complexity.counts import Complexity, Sized, count_complexity
from ablations.complexity.match import (
    By,
    Proposal,
    choose_start,
    compute_complexity,
    propose,
    render_yaml,
)
from ablations.config import read_config
from ablations.data.catalogue import DATASETS
from ablations.errors import InputError
from ablations.matrix import build_matrix
from sknet.spec import NetworkSpec
from sknet.zoo import NETWORKS


@cache
def count(network: NetworkSpec) -> Complexity:
    """Counts each network once."""
    return count_complexity(Sized(network, network.body.input_size))


def find(to: str, by: By, *, match: Match = "macs", start: str | None = None) -> Proposal:
    """The proposal, within the paper's tolerance."""
    return propose(to, choose_start(to, start), by=by, match=match, tolerance=0.06, count=count)


@pytest.mark.parametrize(
    ("by", "name"),
    [
        ("depth", "resnext56_deeper"),
        ("width", "resnext50_wider"),
        ("cardinality", "resnext50_36x4d"),
    ],
)
def test_matched_in_parameters_the_proposals_are_those_of_table_3(by: By, name: str) -> None:
    """The paper's three ResNeXts of SKNet-50's size: 56 layers, 17/16 of the width, 36 groups."""
    proposal = find("sknet50", by, match="params")

    assert proposal.found.network.spec == NETWORKS[name]
    assert abs(proposal.found.share) < 0.03


@pytest.mark.parametrize(
    ("by", "name", "nearer"),
    [
        ("depth", "resnext56_deeper", {"depths": (3, 4, 7, 3)}),
        ("width", "resnext50_wider", {"mid_widths": (132, 264, 528, 1056)}),
        ("cardinality", "resnext50_36x4d", {"mid_widths": (136, 272, 544, 1088)}),
    ],
)
def test_matched_in_multiply_adds_smaller_steps_are_nearer(
    by: By, name: str, nearer: dict[str, tuple[int, ...]]
) -> None:
    """The paper's networks have 4.5 to 6.1 % more than SKNet-50; half the step matches it."""
    proposal = find("sknet50", by)

    [(key, value)] = nearer.items()
    assert getattr(proposal.found.network.body, key) == value
    assert abs(proposal.found.share) < 0.005
    paper = count(NETWORKS[name]).macs / proposal.target.macs - 1
    assert 0.045 < paper < 0.061


@pytest.mark.parametrize(
    ("by", "shape"),
    [
        ("depth", "blocks 1-2-1, mid 16-32-64, out 32-64-128"),
        ("cardinality", "blocks 1-1-1, mid 20-40-80, out 32-64-128"),
    ],
)
def test_the_tiny_body_has_proposals_within_the_tolerance(by: By, shape: str) -> None:
    """Groups keep their width."""
    proposal = find("sknet_tiny", by)

    assert str(proposal.found.network.body) == shape
    assert abs(proposal.found.share) < 0.06
    assert proposal.note == ""


def test_a_change_in_the_width_of_groups_is_reported() -> None:
    """One more group would add a quarter to every width."""
    proposal = find("sknet_tiny", "width")

    assert str(proposal.found.network.body) == "blocks 1-1-1, mid 18-36-72, out 36-72-144"
    assert "Groups are 3 channels wide in the first stage instead of 4" in proposal.note


def test_a_cheaper_target_is_matched_by_fewer_bottlenecks() -> None:
    """Every stage keeps at least one."""
    wider = choose_start("sknet_tiny")
    wider = replace(wider, body=replace(wider.body, depths=(1, 3, 1)))

    proposal = propose("resnext_tiny", wider, by="depth", match="macs", tolerance=0.06, count=count)

    assert proposal.found.network.body == NETWORKS["resnext_tiny"].body
    assert proposal.found.share == 0


@pytest.mark.parametrize(
    "name", ["resnext_tiny", "resnext29_8x64d", "resnext50_wider", "resnet50_senet"]
)
def test_the_formula_agrees_with_the_count(name: str) -> None:
    """With and without pooling, with the stride on the first 1x1, with odd widths."""
    counted = count(NETWORKS[name])

    found = compute_complexity(choose_start(name))

    assert found == replace(counted, fvcore_total=None, uncounted=())


def test_dense_networks_stay_dense() -> None:
    """The only group of a ResNet is as wide as the stage."""
    start = choose_start("resnet50")

    assert start.branch.groups == 1
    assert start.spec == NETWORKS["resnet50"]


@pytest.mark.parametrize(
    ("to", "start", "message"),
    [
        (
            "sknet5",
            None,
            r"--to must be a network of the zoo, got 'sknet5'; did you mean sknet50\?",
        ),
        ("mobilenet_v2", None, "--to must be a network on a ResNet's body, got 'mobilenet_v2'"),
        ("sknet50", "sknet26", "--from must be a network with one kernel and no attention"),
        ("sknet50", "senet50", "--from must be a network with one kernel and no attention"),
        ("sknet50", "resnext50", r"--from must .* got 'resnext50'; did you mean resnet50"),
        ("sknet50", "resnext_tiny", "--from must be made for images of 224 pixels, like sknet50"),
    ],
)
def test_names_that_cannot_be_matched_are_reported(
    to: str, start: str | None, message: str
) -> None:
    """The message says what must hold."""
    with pytest.raises(InputError, match=message):
        choose_start(to, start)


@pytest.mark.parametrize(
    ("to", "start", "by", "body", "dataset"),
    [
        ("sknet_tiny", None, "depth", "tiny", "cifar10"),
        ("sknet_tiny", None, "width", "tiny", "cifar10"),
        ("sknet_tiny", None, "cardinality", "tiny", "cifar10"),
        ("sknet_tiny", "resnext29_16x32d", "width", "tiny", "cifar10"),  # another stem
        ("sknet50", "resnet50_senet", "width", "imagenet50", "imagenet"),  # another stride_place
    ],
)
def test_the_snippet_makes_the_proposal_a_variant(
    tmp_path: Path, to: str, start: str | None, by: By, body: str, dataset: str
) -> None:
    """It can be copied into experiments.yaml, and builds the network that was measured."""
    proposal = find(to, by, start=start)
    snippet = "\n        ".join(render_yaml(proposal).splitlines())
    path = tmp_path / "experiments.yaml"
    path.write_text(
        "experiments:\n  fair:\n    question: Is it fair?\n    expect: Yes.\n    baseline: SK\n"
        f"    variants:\n      SK: {{}}\n      other:\n        {snippet}\n"
    )

    matrix = build_matrix(read_config(path), "fair", body_name=body, dataset=DATASETS[dataset])

    built, proposed = matrix.variants[1].network, proposal.found.network.spec
    assert built.architecture() == proposed.architecture()
    assert count(built).macs == proposal.found.complexity.macs


def test_the_command_proposes(command: Callable[..., Answer]) -> None:
    """As text and as JSON."""
    arguments = ("ablations", "match", "--to", "sknet_tiny", "--by", "cardinality")

    text, data = command(*arguments), command(*arguments, "--json")

    assert text.code == data.code == 0
    assert "branches: [{kernel: 3, groups: 5}]" in text.out
    assert "-4.3%" in text.out
    found = json.loads(data.out)
    assert found["proposal"]["groups"] == 5
    assert found["is_within"]


def test_a_proposal_beyond_the_tolerance_is_exit_code_1(command: Callable[..., Answer]) -> None:
    """It is shown nevertheless."""
    answer = command("ablations", "match", "--to", "sknet_tiny", "--by", "width")

    assert answer.code == 1
    assert "mid_widths: [18, 36, 72]" in answer.out
    assert "no network by width is within 6% of sknet_tiny; the nearest is at -7." in answer.err


@pytest.mark.parametrize("text", ["six", "6", "0", "-1%", "6%%"])
def test_impossible_tolerances_are_refused(command: Callable[..., Answer], text: str) -> None:
    """None of them is misread."""
    arguments = ("--to", "sknet_tiny", "--by", "depth", "--tolerance", text)

    answer = command("ablations", "match", *arguments)

    assert answer.code == 2
    assert "--tolerance must be a share like 6% or 0.06" in answer.err
