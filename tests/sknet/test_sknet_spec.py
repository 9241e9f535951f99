"""Specs: what can be described, which are refused, and what they contribute to identities."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from sknet import (
    Body,
    BottleneckAttention,
    Branch,
    ConvolutionalAttention,
    MobileNetV2Body,
    NetworkSpec,
    SelectiveKernel,
    ShuffleNetV2Body,
    SqueezeExcitation,
    Stem,
    create_model,
    list_models,
)
from sknet.spec import ATTENTIONS, FAMILIES
from sknet.spec.networks import MOST_WEIGHTS, estimate_weights
from sknet.zoo import (
    BODIES,
    DEPTHWISE_CONVOLUTION,
    GROUPED_CONVOLUTION,
    NETWORKS,
    RESNET50_SENET,
)

TORCH_FREE = """
import sys
import sknet
from sknet.spec import NetworkSpec, SelectiveKernel, Branch
for name in sknet.list_models():
    sknet.zoo.NETWORKS[name].architecture()
try:
    NetworkSpec(operator=SelectiveKernel(branches=(Branch(groups=48),)))
except ValueError as error:
    print(error)
print("torch" in sys.modules)
"""

GOLDEN_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "sknet_tiny": {
        "stem": {"width": 16, "kernel": 3, "stride": 2, "pool": False},
        "depths": [1, 1, 1],
        "mid_widths": [16, 32, 64],
        "out_widths": [32, 64, 128],
        "branches": [
            {"kernel": 3, "dilation": 1, "groups": 4},
            {"kernel": 3, "dilation": 2, "groups": 4},
        ],
        "descriptor_widths": [4, 4, 4],
        "in_channels": 3,
        "num_classes": 10,
    },
    "sknet50": {
        "stem": {"width": 64, "kernel": 7, "stride": 2, "pool": True},
        "depths": [3, 4, 6, 3],
        "mid_widths": [128, 256, 512, 1024],
        "out_widths": [256, 512, 1024, 2048],
        "branches": [
            {"kernel": 3, "dilation": 1, "groups": 32},
            {"kernel": 3, "dilation": 2, "groups": 32},
        ],
        "descriptor_widths": [32, 32, 32, 64],
        "in_channels": 3,
        "num_classes": 1000,
    },
    "shufflenet_v2_x0_5_se": {
        "family": "shufflenet_v2",
        "stem_width": 24,
        "depths": [4, 8, 4],
        "out_widths": [48, 96, 192],
        "last_width": 1024,
        "branches": [{"kernel": 3, "dilation": 1, "groups": None}],
        "descriptor_widths": [None, None, None],
        "in_channels": 3,
        "num_classes": 1000,
        "attention": {
            "kind": "SqueezeExcitation",
            "squeeze": "avg",
            "excitation": "sigmoid",
            "position": "standard",
            "bias": False,
            "batch_norm": False,
            "hidden_widths": [[3, 3, 3, 3], [6, 6, 6, 6, 6, 6, 6, 6], [12, 12, 12, 12]],
        },
    },
    "resnext50_32x4d": {
        "stem": {"width": 64, "kernel": 7, "stride": 2, "pool": True},
        "depths": [3, 4, 6, 3],
        "mid_widths": [128, 256, 512, 1024],
        "out_widths": [256, 512, 1024, 2048],
        "branches": [{"kernel": 3, "dilation": 1, "groups": 32}],
        "descriptor_widths": [None, None, None, None],
        "in_channels": 3,
        "num_classes": 1000,
    },
}


def test_specs_are_checked_without_torch() -> None:
    """Plans stay fast: importing torch takes longer than checking and hashing every spec."""
    run = subprocess.run(
        [sys.executable, "-c", TORCH_FREE], capture_output=True, text=True, cwd=ROOT, check=True
    )

    assert "got 48 groups" in run.stdout
    assert run.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", sorted(GOLDEN_ARCHITECTURES))
def test_architecture_is_stable(name: str) -> None:
    """It enters the identity of trials: a change here orphans every finished trial."""
    assert NETWORKS[name].architecture() == GOLDEN_ARCHITECTURES[name]


@pytest.mark.parametrize("name", list_models())
def test_architecture_is_plain(name: str) -> None:
    """Identities are hashes of its JSON, so it must survive a round trip."""
    values = NETWORKS[name].architecture()

    assert json.loads(json.dumps(values)) == values


def test_only_aliases_have_equal_architectures() -> None:
    """Two names for one network share their trials, so they must be deliberate."""
    names: dict[str, list[str]] = {}
    for name in list_models():
        names.setdefault(json.dumps(NETWORKS[name].architecture(), sort_keys=True), []).append(name)

    shared = [twins for twins in names.values() if len(twins) > 1]

    assert shared == [["resnext50_32x4d", "sknet50_k3_sum"], ["sknet50", "sknet50_k3k5"]]


@pytest.mark.parametrize(
    ("attention", "same"),
    [
        (SqueezeExcitation(stages=(1, 2, 3, 4)), True),
        (SqueezeExcitation(reduction=8), False),
        (SqueezeExcitation(bias=True), False),
        (SqueezeExcitation(stages=(1,)), False),
        (SqueezeExcitation(position="pre"), False),
        (ConvolutionalAttention(), False),
        (BottleneckAttention(), False),
        (None, False),
    ],
)
def test_architecture_distinguishes_attentions(attention: Any, same: bool) -> None:
    """Naming all stages is the same as None; any other setting is another network."""
    plain = replace(RESNET50_SENET, attention=SqueezeExcitation())

    other = replace(RESNET50_SENET, attention=attention)

    assert (other.architecture() == plain.architecture()) is same


@pytest.mark.parametrize("name", list_models())
def test_specs_print_on_one_line(name: str) -> None:
    """Lists of networks show them."""
    text = str(NETWORKS[name])

    assert "\n" not in text
    assert len(text) < 250


@pytest.mark.parametrize("body", [BODIES["tiny"], Body(), ShuffleNetV2Body(), MobileNetV2Body()])
def test_each_block_takes_the_output_of_the_previous_one(
    body: Body | ShuffleNetV2Body | MobileNetV2Body,
) -> None:
    """Widths must match from the stem to the head."""
    blocks = [block for stage in body.stages() for block in stage]

    assert all(first.out_width == second.in_width for first, second in pairwise(blocks))


@given(
    groups=st.lists(st.sampled_from([1, 2, 4, 8, 16]), min_size=1, max_size=4),
    reduction=st.integers(1, 64),
    min_width=st.integers(1, 64),
)
def test_architecture_depends_on_descriptor_widths_only(
    groups: list[int], reduction: int, min_width: int
) -> None:
    """Ratio and floor matter only through the descriptor widths that they lead to."""
    operator = SelectiveKernel(
        branches=tuple(Branch(groups=number) for number in groups),
        reduction=reduction,
        min_width=min_width,
    )

    values = NetworkSpec(body=BODIES["tiny"], operator=operator).architecture()

    assert values["descriptor_widths"] == [max(c // reduction, min_width) for c in (16, 32, 64)]
    assert [branch["groups"] for branch in values["branches"]] == groups


def test_architecture_has_later_settings_only_if_they_are_set() -> None:
    """Older identities stay; a sum has neither a descriptor nor scores."""
    settings = {"descriptor": "linear", "score_bias": True}
    paper, other, summed = (
        NetworkSpec(operator=operator).architecture()
        for operator in (
            SelectiveKernel(),
            SelectiveKernel(**settings),
            SelectiveKernel(attention="sum", **settings),
        )
    )

    assert other == {**paper, **settings}
    assert summed.keys() == paper.keys()
    assert summed == NetworkSpec(operator=SelectiveKernel(attention="sum")).architecture()


def test_registries_hold_every_kind_by_its_yaml_name() -> None:
    """Files of experiments refer to attentions and families by these names."""
    assert {
        "SE": SqueezeExcitation,
        "CBAM": ConvolutionalAttention,
        "BAM": BottleneckAttention,
    } == ATTENTIONS
    assert {
        "resnext": Body,
        "shufflenet_v2": ShuffleNetV2Body,
        "mobilenet_v2": MobileNetV2Body,
    } == FAMILIES


def test_scaling_down_keeps_depthwise_kernels() -> None:
    """A kernel with one group per channel keeps one group per channel on a narrower body."""
    operator = SelectiveKernel(branches=(Branch(groups=None), Branch(groups=32)))

    scaled = operator.scaled_down(8)

    assert [branch.groups for branch in scaled.branches] == [None, 4]


IMPOSSIBLE: dict[str, tuple[Any, dict[str, Any]]] = {
    "kernel must be odd and positive, got 4": (Branch, {"kernel": 4}),
    "kernel must be odd and positive, got -1": (Branch, {"kernel": -1}),
    "dilation must be at least 1, got 0": (Branch, {"dilation": 0}),
    "groups must be at least 1, got 0": (Branch, {"groups": 0}),
    "branches must hold at least 1 kernel, got none": (SelectiveKernel, {"branches": ()}),
    "attention must be one of softmax, sum, got 'max'": (SelectiveKernel, {"attention": "max"}),
    "reduction must be at least 1, got 0": (SelectiveKernel, {"reduction": 0}),
    "min_width must be at least 1, got 0": (SelectiveKernel, {"min_width": 0}),
    "reduction must be at least 1, got -2": (SqueezeExcitation, {"reduction": -2}),
    "squeeze must be one of avg, max, none, got 'sum'": (SqueezeExcitation, {"squeeze": "sum"}),
    "excitation must be one of sigmoid, relu, tanh, got 'elu'": (
        SqueezeExcitation,
        {"excitation": "elu"},
    ),
    "position must be one of standard, pre, post, identity, inside, got 'last'": (
        SqueezeExcitation,
        {"position": "last"},
    ),
    "stages must be ascending and distinct, got (2, 1)": (SqueezeExcitation, {"stages": (2, 1)}),
    "stages must be ascending and distinct, got (2, 2)": (SqueezeExcitation, {"stages": (2, 2)}),
    "stages must name at least 1 stage, or be None for all, got none": (
        SqueezeExcitation,
        {"stages": ()},
    ),
    "reduction must be at least 1, got -1": (ConvolutionalAttention, {"reduction": -1}),
    "kernel must be odd and positive, got 6": (ConvolutionalAttention, {"kernel": 6}),
    "reduction must be at least 1, got -3": (BottleneckAttention, {"reduction": -3}),
    "dilation must be at least 1, got -4": (BottleneckAttention, {"dilation": -4}),
    "depths, mid_widths, out_widths must have one entry per stage, got 1, 4, 4": (
        Body,
        {"depths": (1,)},
    ),
    "divisor must be at least 1, got 0": (Body, {"divisor": 0}),
    "mid_widths must be at least 1, got 0": (Body, {"mid_widths": (128, 0, 512, 1024)}),
    "width must be at least 1, got 0": (Stem, {"width": 0}),
    "stride_place must be one of operator, reduce, got 'expand'": (
        Body,
        {"stride_place": "expand"},
    ),
    "depths, out_widths must have one entry per stage, got 1, 3": (
        ShuffleNetV2Body,
        {"depths": (4,)},
    ),
    "stem_width must be at least 1, got -1": (ShuffleNetV2Body, {"stem_width": -1}),
    "out_widths must be even, a unit works on one half, got 97": (
        ShuffleNetV2Body,
        {"out_widths": (48, 97, 192)},
    ),
    "depths, expansions, out_widths, strides must have one entry per stage, got 1, 7, 7, 7": (
        MobileNetV2Body,
        {"depths": (1,)},
    ),
    "last_width must be at least 1, got -7": (MobileNetV2Body, {"last_width": -7}),
    "in_channels must be at least 1, got 0": (NetworkSpec, {"in_channels": 0}),
    "num_classes must be at least 1, got 0": (NetworkSpec, {"num_classes": 0}),
    "stage 1: 128 channels must be a multiple of the groups of 3x3, got 48 groups; stage 2: 256": (
        NetworkSpec,
        {"operator": SelectiveKernel(branches=(Branch(groups=48),))},
    ),
    "stages must be within 1 to 4, got 5": (
        NetworkSpec,
        {"attention": SqueezeExcitation(stages=(5,))},
    ),
    "stage 1: 256 channels must be at least the attention's reduction, got 300": (
        NetworkSpec,
        {"attention": SqueezeExcitation(reduction=300)},
    ),
    "stage 1: 64 channels must be at least the attention's reduction, got 100": (
        NetworkSpec,
        {"attention": SqueezeExcitation(reduction=100, position="pre")},
    ),
    "every branch of a lightweight body must be depthwise (groups None)": (
        NetworkSpec,
        {"body": ShuffleNetV2Body(), "operator": SelectiveKernel(branches=(Branch(groups=1),))},
    ),
    "attention of a lightweight body must be SE, got BAM": (
        NetworkSpec,
        {
            "body": MobileNetV2Body(),
            "operator": DEPTHWISE_CONVOLUTION,
            "attention": BottleneckAttention(),
        },
    ),
    "position on a lightweight body must be standard, got inside": (
        NetworkSpec,
        {
            "body": MobileNetV2Body(),
            "operator": DEPTHWISE_CONVOLUTION,
            "attention": SqueezeExcitation(position="inside"),
        },
    ),
}


@pytest.mark.parametrize("message", IMPOSSIBLE)
def test_impossible_specs_are_refused(message: str) -> None:
    """The message says what must hold and what was given."""
    kind, settings = IMPOSSIBLE[message]

    with pytest.raises(ValueError, match=re.escape(message)):
        kind(**settings)


@pytest.mark.parametrize(
    ("operator", "divisor", "message"),
    [
        (GROUPED_CONVOLUTION, 3, "groups must be a multiple of the divisor 3, got 32"),
        (
            SelectiveKernel(branches=(Branch(),), min_width=10),
            8,
            "L must be a multiple of the divisor 8, got 10",
        ),
    ],
)
def test_operators_that_cannot_be_scaled_are_refused(
    operator: SelectiveKernel, divisor: int, message: str
) -> None:
    """Nothing is rounded silently."""
    with pytest.raises(ValueError, match=message):
        operator.scaled_down(divisor)


def test_unknown_model_names_get_a_suggestion() -> None:
    """Most are typing mistakes."""
    with pytest.raises(ValueError, match=r"got 'sknet5'; did you mean sknet50\?"):
        create_model("sknet5")
    with pytest.raises(ValueError, match=r"got 'vgg'; sknet\.list_models\(\) lists all"):
        create_model("vgg")


def test_unknown_attributes_of_the_package_raise_attribute_error() -> None:
    """`hasattr` relies on it."""
    import sknet

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = sknet.nothing


def test_weights_are_estimated_without_building_a_network() -> None:
    """A network that fits no machine is refused by its spec; the others are far from the limit."""
    golden = json.loads((ROOT / "tests" / "golden" / "complexity.json").read_text())
    known = {name: NETWORKS[name] for name in golden.keys() & NETWORKS.keys()}

    ratios = [estimate_weights(spec) / golden[name]["params"] for name, spec in known.items()]

    assert len(ratios) > 50
    assert 0.9 < min(ratios) <= max(ratios) < 1.35
    assert max(estimate_weights(spec) for spec in known.values()) < MOST_WEIGHTS / 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Body(mid_widths=(65536,) * 4, out_widths=(65536,) * 4), r"1e\+09 weights, got ab"),
        (lambda: Body(input_size=4096), "a map may have"),
    ],
)
def test_a_network_that_fits_no_machine_is_refused(make: Callable[[], Body], message: str) -> None:
    """Before anything of it is built, which would fill the memory."""
    with pytest.raises(ValueError, match=message):
        NetworkSpec(body=make())
