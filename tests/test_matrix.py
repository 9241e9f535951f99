"""Variants become networks, or an error that says where."""

from dataclasses import replace

import pytest
from conftest import ROOT

from ablations.config import Config, read_config
from ablations.datasets import DATASETS
from ablations.errors import InputError
from ablations.matrix import build_matrix
from sknet.spec import Branch

DIGITS = DATASETS["multiscale_digits"]


@pytest.fixture
def config() -> Config:
    """Our own experiments."""
    return read_config(ROOT / "experiments.yaml")


def with_variant(config: Config, name: str, branches: tuple[Branch, ...]) -> Config:
    """The experiments with one variant of dilation_group changed."""
    experiment = config.experiment("dilation_group")
    changed = experiment.variants[name].model_copy(update={"branches": branches})
    variants = {**experiment.variants, name: changed}
    experiments = {"dilation_group": experiment.model_copy(update={"variants": variants})}
    return replace(config, experiments=experiments)


def test_variants_are_scaled_to_the_body(config: Config) -> None:
    """An eighth of the widths takes an eighth of the groups and of the floor L."""
    variants = build_matrix(config, "dilation_group", body_name="tiny", dataset=DIGITS).variants

    last = variants[-1]
    assert last.name == "7x7, D=1, G=128"
    assert [branch.groups for branch in last.network.operator.branches] == [4, 16]
    assert last.network.operator.min_width == 4
    assert [branch.groups for branch in last.paper_network.operator.branches] == [32, 128]
    assert last.settings["groups"] == 128  # the paper's terms


def test_the_classifier_is_the_datasets(config: Config) -> None:
    """Ten digits in grey here, a thousand classes in colour at the paper's scale."""
    variant = build_matrix(config, "dilation_group", body_name="tiny", dataset=DIGITS).variants[0]

    assert (variant.network.in_channels, variant.network.num_classes) == (1, 10)
    assert (variant.paper_network.in_channels, variant.paper_network.num_classes) == (3, 1000)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            1024,
            r"yaml:\d+: .*7x7, D=1, G=128: cannot be built at the paper's scale: stage 1: 128 ch",
        ),
        (36, r"stage 1: 128 channels must be a multiple of the groups of 7x7, got 36 groups"),
        (4, r"cannot be built on the body tiny: groups must be a multiple of the divisor 8, got 4"),
    ],
)
def test_impossible_variants_are_refused(config: Config, groups: int, message: str) -> None:
    """With the line of the variant and the stage that does not fit."""
    name = "7x7, D=1, G=128"
    changed = with_variant(config, name, (Branch(), Branch(7, 1, groups)))

    with pytest.raises(InputError, match=message):
        build_matrix(changed, "dilation_group", body_name="tiny", dataset=DIGITS)


def test_twins_are_refused(config: Config) -> None:
    """Two rows of one network would be compared with themselves."""
    changed = with_variant(config, "3x3, D=1, G=32", (Branch(), Branch(dilation=2)))

    with pytest.raises(InputError, match=r"got the same as '3x3, D=2, G=32'"):
        build_matrix(changed, "dilation_group", body_name="tiny", dataset=DIGITS)
