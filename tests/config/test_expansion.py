"""Axes expand into variants: every combination once, without the excluded ones."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.config import Experiment, VariantSettings
from ablations.config.expansion import Expansion, expand
from sknet.spec import Branch

AXES = st.dictionaries(
    st.sampled_from(["reduction", "min_width", "block_attention.reduction"]),
    st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True),
    min_size=1,
)


def expand_axes(**axes: object) -> Expansion:
    """The expansion of axes alone."""
    given: dict[str, object] = {"grid": {}, "zipped": {}, "include": [], "exclude": [], **axes}
    return expand({}, **given)  # type: ignore[arg-type]


@given(grid=AXES)
def test_a_grid_holds_every_combination_once(grid: dict[str, list[int]]) -> None:
    """The number of variants is the product of the axes' lengths; all differ."""
    expansion = expand_axes(grid=grid)

    assert expansion.raw == math.prod(map(len, grid.values()))
    assert len(set(map(repr, expansion.variants.values()))) == expansion.raw


def test_zipped_axes_vary_together_and_are_crossed_with_the_grid() -> None:
    """Two ratios with each of two pairs, not with each of four."""
    expansion = expand_axes(
        grid={"reduction": [8, 16]}, zipped={"min_width": [32, 64], "attention": ["sum", "softmax"]}
    )

    assert list(expansion.variants) == [
        "r=8, L=32, sum",
        "r=8, L=64, softmax",
        "r=16, L=32, sum",
        "r=16, L=64, softmax",
    ]


def test_zipped_axes_may_repeat_a_value() -> None:
    """Only pairs must differ; none is dropped."""
    expansion = expand_axes(zipped={"reduction": [8, 8, 16], "min_width": [8, 16, 16]})

    assert list(expansion.variants) == ["r=8, L=8", "r=8, L=16", "r=16, L=16"]


def test_zipped_axes_may_be_excluded_by_a_repeated_value() -> None:
    """The exclusion matches every pair that has it."""
    expansion = expand_axes(
        zipped={"reduction": [8, 8, 16], "min_width": [8, 16, 16]}, exclude=[{"reduction": 8}]
    )

    assert list(expansion.variants) == ["r=16, L=16"]
    assert expansion.excluded == ("r=8, L=8", "r=8, L=16")


def test_dotted_keys_set_nested_settings() -> None:
    """A grid may vary a setting within a mapping."""
    expansion = expand_axes(grid={"block_attention.reduction": [2, 4]})

    [first, second] = expansion.variants.values()
    assert first == VariantSettings.model_validate({"block_attention": {"reduction": 2}})
    assert second.block_attention is not None
    assert second.block_attention.reduction == 4


def test_values_may_have_labels() -> None:
    """Labels replace values in the names of variants."""
    expansion = expand_axes(grid={"branches": {"small": ["K3"], "both": ["K3", "K5"]}})

    assert list(expansion.variants) == ["small", "both"]
    assert expansion.variants["both"].branches == (Branch(), Branch(dilation=2))


def test_inclusions_and_exclusions_are_counted() -> None:
    """`raw` is the number of variants before exclusions."""
    expansion = expand_axes(
        grid={"reduction": [8, 16], "min_width": [8, 32]},
        include=[{"reduction": 2, "min_width": 128}],
        exclude=[{"reduction": 8, "min_width": 8}],
    )

    assert expansion.raw == 5
    assert expansion.excluded == ("r=8, L=8",)
    assert list(expansion.variants) == ["r=8, L=32", "r=16, L=8", "r=16, L=32", "r=2, L=128"]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"zipped": {"reduction": [1, 2], "min_width": [8]}}, "need the same number of values"),
        ({"grid": {"reduction": [1]}, "zipped": {"reduction": [2]}}, "vary different settings"),
        ({"grid": {"reduction": []}}, "reduction needs a list of values"),
        ({"grid": {"reduction": [0]}}, "r=0 is not a valid variant: reduction: .* greater than 0"),
        ({"grid": {"reducton": [1]}}, "reducton: unknown key; did you mean reduction"),
        ({"grid": {"reduction": [8]}, "exclude": [{"reduction": 9}]}, "exclude must match a"),
        ({"grid": {"reduction": [8]}, "include": [{"reduction": 8}]}, "must have distinct names"),
        (
            {"grid": {"reduction": [8, 8]}},
            r"must have distinct names, got \['r=8'\] more than once",
        ),
        (
            {"zipped": {"reduction": [8, 8, 16], "min_width": [8, 8, 16]}},
            r"must have distinct names, got \['r=8, L=8'\] more than once",
        ),
        (
            {"grid": {"reduction": [4, 8, 8]}, "exclude": [{"reduction": 8}]},
            r"must have distinct names, got \['r=8'\] more than once",
        ),
    ],
)
def test_impossible_axes_are_refused(axes: dict[str, object], message: str) -> None:
    """The message says what must hold."""
    with pytest.raises(ValueError, match=message):
        expand_axes(**axes)


def test_an_experiment_may_consist_of_axes() -> None:
    """Its baseline must be one of their combinations."""
    values = {"question": "?", "expect": "!", "grid": {"reduction": [8, 16]}}

    experiment = Experiment.model_validate({**values, "baseline": "r=16"})

    assert list(experiment.expansion.variants) == ["r=8", "r=16"]
    with pytest.raises(ValueError, match=r"baseline must be one of the variants \['r=16', 'r=8'\]"):
        Experiment.model_validate({**values, "baseline": "r=32"})
