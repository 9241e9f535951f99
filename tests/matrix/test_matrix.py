"""Variants become networks; those that cannot be built are reported with their place."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT

from ablations.config import Config, read_config, read_paper
from ablations.data import DATASETS
from ablations.errors import InputError, MisfitError
from ablations.matrix import Matrix, build_matrix
from sknet.spec import Branch, ConvolutionalAttention, SelectiveKernel, SqueezeExcitation
from sknet.zoo import BODIES, NETWORKS

DIGITS = DATASETS["multiscale_digits"]


@pytest.fixture
def config() -> Config:
    """The bundled experiments."""
    return read_config(ROOT / "experiments.yaml")


def with_variant(config: Config, name: str, branches: tuple[Branch, ...]) -> Config:
    """The experiments with one variant of dilation_group changed."""
    experiment = config.experiment("dilation_group")
    changed = experiment.variants[name].model_copy(update={"branches": branches})
    variants = {**experiment.variants, name: changed}
    experiments = {"dilation_group": experiment.model_copy(update={"variants": variants})}
    return replace(config, experiments=experiments)


def test_variants_are_scaled_to_the_body(config: Config) -> None:
    """A body with an eighth of the widths has an eighth of the groups and of the floor L."""
    variants = build_matrix(config, "dilation_group", body_name="tiny", dataset=DIGITS).variants

    last = variants[-1]
    assert last.name == "7x7, D=1, G=128"
    assert [branch.groups for branch in last.network.operator.branches] == [4, 16]
    assert last.network.operator.min_width == 4
    assert [branch.groups for branch in last.paper_network.operator.branches] == [32, 128]
    assert last.settings["groups"] == 128  # the paper's terms


def test_the_classifier_fits_the_dataset(config: Config) -> None:
    """Ten classes of grey images; at the paper's scale, a thousand classes in colour."""
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
    """The message has the line of the variant and the stage that does not fit."""
    name = "7x7, D=1, G=128"
    changed = with_variant(config, name, (Branch(), Branch(7, 1, groups)))

    with pytest.raises(InputError, match=message):
        build_matrix(changed, "dilation_group", body_name="tiny", dataset=DIGITS)


def test_twins_are_refused(config: Config) -> None:
    """Otherwise a network would be compared with itself."""
    changed = with_variant(config, "3x3, D=1, G=32", (Branch(), Branch(dilation=2)))

    with pytest.raises(
        InputError, match=r"is the same network as '3x3, D=2, G=32' on the body tiny"
    ):
        build_matrix(changed, "dilation_group", body_name="tiny", dataset=DIGITS)


def build_from(text: str, tmp_path: Path, *, body_name: str = "tiny") -> Matrix:
    """The matrix of the only experiment in an experiments.yaml."""
    path = tmp_path / "experiments.yaml"
    path.write_text(text)
    config = read_config(path)
    [name] = config.experiments
    return build_matrix(config, name, body_name=body_name, dataset=DIGITS)


ZOO = """
experiments:
  zoo:
    question: Does it matter?
    expect: It does.
    baseline: plain
    variants:
      plain: {network: resnext50_32x4d}
      SE: {network: senet50}
      deep: {network: resnext101_32x4d, on: {tiny: {body: {depths: [1, 1, 3]}}}}
"""


def test_a_network_of_the_zoo_is_scaled_to_the_body(tmp_path: Path) -> None:
    """Its operator is divided, its attention kept, and its classifier fits the dataset."""
    plain, with_se, _ = build_from(ZOO, tmp_path).variants

    assert plain.paper_network == NETWORKS["resnext50_32x4d"]
    assert plain.network == replace(NETWORKS["resnext_tiny"], in_channels=1)
    assert with_se.paper_network == NETWORKS["senet50"]
    assert with_se.network.attention == NETWORKS["senet50"].attention


def test_another_body_needs_a_counterpart_on_the_small_one(tmp_path: Path) -> None:
    """A counterpart of 23 blocks in place of 6 cannot be guessed; the chosen one is shown."""
    *_, deep = build_from(ZOO, tmp_path).variants

    assert deep.network.body == replace(BODIES["tiny"], depths=(1, 1, 3))
    assert deep.as_built == "blocks 1-1-3, mid 16-32-64, out 32-64-128"
    with pytest.raises(InputError, match=r"zoo.variants.deep: its body differs from imagenet50"):
        build_from(ZOO.partition(", on:")[0] + "}", tmp_path)


def test_the_papers_body_keeps_the_network_unscaled(tmp_path: Path) -> None:
    """`paper` and the experiment's paper_body are the same body; small images do not fit it."""
    folder = replace(DATASETS["imagenet"], num_classes=7)
    path = tmp_path / "experiments.yaml"
    path.write_text(ZOO)
    config = read_config(path)

    for name in ("paper", "imagenet50"):
        *_, deep = build_matrix(config, "zoo", body_name=name, dataset=folder).variants
        assert deep.network == replace(NETWORKS["resnext101_32x4d"], num_classes=7)
    with pytest.raises(
        MisfitError, match="made for images of 224 pixels, but those of multiscale_digits"
    ):
        build_matrix(config, "zoo", body_name="paper", dataset=DIGITS)


def test_numbers_given_for_a_body_are_not_divided(config: Config) -> None:
    """Five groups on tiny stay five; L, which is not given there, is divided."""
    variants = build_matrix(
        config, "depth_width_cardinality", body_name="tiny", dataset=DIGITS
    ).variants

    *_, cardinality = variants
    operator = cardinality.network.operator
    assert isinstance(operator, SelectiveKernel)
    assert (operator.branches, operator.min_width) == ((Branch(groups=5),), 4)
    assert cardinality.paper_network == NETWORKS["resnext50_36x4d"]


AXES = """
experiments:
  axes:
    question: Does it matter?
    expect: It does.
    base: {block_attention: {kind: SE, reduction: 4}}
    baseline: softmax, r=16
    grid: {attention: [sum, softmax], reduction: [16, 2]}
    include: [{block_attention: none}, {block_attention: {excitation: tanh}}]
"""


def test_combinations_of_the_same_network_are_left_out_and_reported(tmp_path: Path) -> None:
    """A sum has no ratio, so two of four combinations are the same network."""
    text = AXES.replace("{excitation: tanh}", "CBAM")

    matrix = build_from(text, tmp_path)

    assert (matrix.raw, matrix.duplicates) == (6, ("sum, r=2",))
    assert [variant.name for variant in matrix.variants] == [
        "sum, r=16", "softmax, r=16", "softmax, r=2", "none", "CBAM"
    ]  # fmt: skip
    attentions = [variant.network.attention for variant in matrix.variants]
    assert attentions[0] == SqueezeExcitation(reduction=4)
    assert attentions[-2:] == [None, ConvolutionalAttention()]


def test_a_baseline_that_is_a_duplicate_is_refused(tmp_path: Path) -> None:
    """Otherwise the table would have no row to compare with."""
    with pytest.raises(InputError, match="baseline: 'sum, r=2' is the same network as 'sum, r=16'"):
        build_from(AXES.replace("baseline: softmax, r=16", "baseline: sum, r=2"), tmp_path)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("{block_attention: {kernel: 7}}", "block_attention needs a kind"),
        ("{block_attention: {kind: CBAM, squeeze: max}}", "ConvolutionalAttention has no settings"),
        ("{body: {stem_width: 8}}", r"Body has no settings \['stem_width'\]"),
        ("{body: {depths: [1]}}", "one entry per stage, got 1, 4, 4"),
        ("{settings: {kernel: 3}}", "settings needs operator: package.module:Class"),
        ("{network: sknet5}", "must be one of .*; did you mean sknet50"),
        ("{body: tinny}", "must be one of .*; did you mean tiny"),
        ("{on: {tinny: {reduction: 2}}}", "must be one of .*; did you mean tiny"),
    ],
)
def test_faults_of_a_variant_are_reported(variant: str, message: str, tmp_path: Path) -> None:
    """The message has the line of the variant."""
    text = ZOO.replace("{network: senet50}", variant)

    with pytest.raises(InputError, match=rf"yaml:9: experiments.zoo.variants.SE.*{message}"):
        build_from(text, tmp_path)


def test_every_bundled_experiment_can_be_built(config: Config) -> None:
    """On the small body, and at the paper's scale with images of that size."""
    for name, experiment in config.experiments.items():
        small = build_matrix(config, name, body_name="tiny", dataset=DIGITS)
        side = config.bodies[experiment.paper_body].input_size
        images = DATASETS["imagenet" if side > 32 else "cifar10"]
        large = build_matrix(config, name, body_name="paper", dataset=images)

        assert len(small.variants) == len(large.variants) == small.raw


def test_variants_are_the_networks_of_the_printed_rows(config: Config) -> None:
    """A variant with the name of a printed row is the network that the row describes."""
    paper = read_paper()
    for name, experiment in config.experiments.items():
        variants = build_matrix(config, name, body_name="tiny", dataset=DIGITS).variants
        rows = {key: row for t in experiment.paper_table for key, row in paper[t].rows.items()}
        if not rows:
            continue
        named = {v.name: v.paper_network for v in variants if v.name in rows}

        assert len(named) == len(variants) - (name == "imagenet")  # SKNet-26 is printed nowhere
        for variant, network in named.items():
            spec = NETWORKS[rows[variant].network or ""]
            assert network.architecture() == spec.architecture()
