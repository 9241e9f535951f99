"""What every network supports, and where its parts are."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sknet import (
    Body,
    BottleneckAttention,
    Branch,
    ConvolutionalAttention,
    MobileNetV2Body,
    NetworkSpec,
    SelectiveKernel,
    ShuffleNetV2Body,
    SKConv,
    SqueezeExcitation,
    Stem,
    build_network,
    create_model,
    list_models,
    record_selection,
)
from sknet.block_attention import UNITS, BAMUnit, CBAMUnit, SEUnit, build_attention
from sknet.build import NETWORK_CLASSES
from sknet.lightweight import interleave
from sknet.resnext import Bottleneck
from sknet.selection import find_selective_units
from sknet.spec import ATTENTIONS, FAMILIES, AnyBody, Block, BlockAttention, Position
from sknet.weights import LAYOUTS
from sknet.zoo import (
    DEPTHWISE_CONVOLUTION,
    DEPTHWISE_SELECTION,
    GROUPED_CONVOLUTION,
    KERNELS,
    NETWORKS,
)

SMALL_BODY = Body(
    stem=Stem(width=8, kernel=3, pool=False),
    depths=(1, 2),
    mid_widths=(16, 32),
    out_widths=(32, 64),
    input_size=32,
)
SMALL_SHUFFLENET = ShuffleNetV2Body(
    stem_width=8, depths=(2, 2), out_widths=(16, 32), last_width=32, input_size=32
)
SMALL_MOBILENET = MobileNetV2Body(
    stem_width=8,
    depths=(1, 2),
    expansions=(1, 6),
    out_widths=(16, 16),
    strides=(1, 2),
    last_width=32,
    input_size=32,
)
PLAIN = GROUPED_CONVOLUTION.scaled_down(8)
SELECTION = SelectiveKernel().scaled_down(8)
TRIPLE = SelectiveKernel(branches=tuple(KERNELS.values())).scaled_down(8)
SE = SqueezeExcitation(reduction=4)

SMALL_NETWORKS = {
    "plain": NetworkSpec(body=SMALL_BODY, operator=PLAIN, num_classes=5),
    "senet_stride": NetworkSpec(body=replace(SMALL_BODY, stride_place="reduce"), operator=PLAIN),
    "sk": NetworkSpec(body=SMALL_BODY, operator=SELECTION),
    "sk_triple": NetworkSpec(body=SMALL_BODY, operator=TRIPLE),
    "sum": NetworkSpec(body=SMALL_BODY, operator=replace(SELECTION, attention="sum")),
    "cbam": NetworkSpec(
        body=SMALL_BODY, operator=PLAIN, attention=ConvolutionalAttention(reduction=4)
    ),
    "bam": NetworkSpec(body=SMALL_BODY, operator=PLAIN, attention=BottleneckAttention(reduction=4)),
    "sk_and_se": NetworkSpec(body=SMALL_BODY, operator=SELECTION, attention=SE),
    **{
        f"se_{name}": NetworkSpec(body=SMALL_BODY, operator=PLAIN, attention=attention)
        for name, attention in {
            "max": replace(SE, squeeze="max"),
            "no_squeeze": replace(SE, squeeze="none"),
            "relu": replace(SE, excitation="relu"),
            "tanh": replace(SE, excitation="tanh"),
            "pre": replace(SE, position="pre"),
            "post": replace(SE, position="post"),
            "identity": replace(SE, position="identity"),
            "inside": replace(SE, position="inside"),
            "second_stage": replace(SE, stages=(2,)),
            "norm_and_bias": replace(SE, bias=True, batch_norm=True),
        }.items()
    },
    **{
        f"{name}_{part}": NetworkSpec(body=body, operator=operator, attention=attention)
        for name, body in {"shufflenet": SMALL_SHUFFLENET, "mobilenet": SMALL_MOBILENET}.items()
        for part, operator, attention in (
            ("plain", DEPTHWISE_CONVOLUTION, None),
            ("se", DEPTHWISE_CONVOLUTION, SE),
            ("sk", DEPTHWISE_SELECTION, None),
        )
    },
}
"""One small network of every kind in the zoo."""

every_kind = pytest.mark.parametrize("spec", SMALL_NETWORKS.values(), ids=SMALL_NETWORKS)


def build(spec: NetworkSpec, *, seed: int = 0) -> nn.Module:
    """Builds the network of a spec, the same every time."""
    return build_network(spec, generator=torch.Generator().manual_seed(seed))


def draw_images(*shape: int, seed: int = 1) -> Tensor:
    """Draws random images, the same every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", list_models())
def test_zoo_networks_take_any_channels_and_classes(name: str) -> None:
    """Also image sizes that are not a multiple of 32, and single images."""
    with torch.device("meta"):
        network = create_model(name, num_classes=7, in_channels=5).eval()

    logits = network(torch.empty(1, 5, 75, 50, device="meta"))

    assert logits.shape == (1, 7)


@every_kind
@pytest.mark.parametrize("size", [32, 33, 47])
def test_networks_take_any_image_size(spec: NetworkSpec, size: int) -> None:
    """In evaluation, outputs do not depend on the other images of the batch."""
    network = build(spec).eval()
    images = draw_images(3, 3, size, size)

    with torch.inference_mode():
        alone = network(images[:1])
        together = network(images)

    assert alone.shape == (1, spec.num_classes)
    torch.testing.assert_close(alone, together[:1], atol=1e-5, rtol=1e-4)


@every_kind
def test_gradients_reach_every_parameter(spec: NetworkSpec) -> None:
    """A parameter without a gradient would be counted but never trained."""
    network = build(spec)

    network(draw_images(4, 3, 32, 32)).square().sum().backward()

    idle = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@every_kind
def test_channels_last_is_kept_by_every_block(spec: NetworkSpec) -> None:
    """A single block that falls back to the other format costs more than the format gains."""
    network = build(spec).to(memory_format=torch.channels_last)
    layouts: dict[str, bool] = {}
    for key, module in network.named_modules():
        if key.startswith("stages.") and key.count(".") == 2:
            module.register_forward_hook(
                lambda _module, _inputs, y, key=key: layouts.update(
                    {key: y.is_contiguous(memory_format=torch.channels_last)}
                )
            )
    images = draw_images(2, 3, 32, 32)

    logits = network(images.to(memory_format=torch.channels_last))

    assert layouts
    assert all(layouts.values()), layouts
    torch.testing.assert_close(logits, build(spec)(images), atol=1e-4, rtol=1e-4)


@every_kind
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept(spec: NetworkSpec, dtype: torch.dtype) -> None:
    """Every part of a network computes in the type of its weights."""
    network = build(spec).eval()
    images = draw_images(2, 3, 32, 32)
    with torch.inference_mode():
        expected = network(images)

        logits = network.to(dtype)(images.to(dtype))

    assert logits.dtype == dtype
    scale = expected.abs().max().item()
    torch.testing.assert_close(logits.float(), expected, atol=0.05 * scale, rtol=0)


@every_kind
def test_networks_compile_in_one_graph(spec: NetworkSpec) -> None:
    """Graph breaks would prevent the fusion that training speed depends on."""
    torch.compiler.reset()  # otherwise it stops compiling after a few networks of one class
    network = build(spec).eval()
    images = draw_images(2, 3, 32, 32)

    logits = torch.compile(network, backend="eager", fullgraph=True)(images)

    torch.testing.assert_close(logits, network(images))


@pytest.mark.parametrize("name", ["sk_triple", "cbam", "shufflenet_se", "mobilenet_sk"])
def test_networks_export(name: str) -> None:
    """The exported network gives the same outputs."""
    network = build(SMALL_NETWORKS[name]).eval()
    images = draw_images(2, 3, 32, 32)

    exported = torch.export.export(network, (images,)).module()

    torch.testing.assert_close(exported(images), network(images))


@pytest.mark.parametrize("name", ["sk", "shufflenet_sk"])
def test_networks_export_for_any_batch(name: str) -> None:
    """The batch size is not fixed in the graph."""
    network = build(SMALL_NETWORKS[name]).eval()
    batch = {0: torch.export.Dim("batch", min=2, max=64)}

    exported = torch.export.export(
        network, (draw_images(2, 3, 32, 32),), dynamic_shapes=(batch,)
    ).module()

    images = draw_images(5, 3, 32, 32)
    torch.testing.assert_close(exported(images), network(images))


@every_kind
def test_a_generator_fixes_all_weights(spec: NetworkSpec) -> None:
    """The weights of a trial depend on its seed only, not on earlier random draws."""
    first = build(spec, seed=3).state_dict()
    torch.rand(1)

    again, other = build(spec, seed=3).state_dict(), build(spec, seed=4).state_dict()

    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_stride_is_where_the_spec_places_it() -> None:
    """It changes the outputs, and 0.23 of the 4.09 GFLOPs of ResNet-50."""
    strides = {}
    for name in ("resnet50", "resnet50_senet"):
        with torch.device("meta"):
            block = build_network(NETWORKS[name]).stages[1][0]
        strides[name] = (block.reduce[0].stride[0], block.operator.branches[0][0].stride[0])

    assert strides == {"resnet50": (1, 2), "resnet50_senet": (2, 1)}


@pytest.mark.parametrize("position", ["standard", "pre", "post", "identity", "inside"])
def test_attention_is_where_the_spec_places_it(position: Position) -> None:
    """Figure 5 of the SENet paper, and its SE_3x3 variant."""
    block = Block(in_width=16, mid_width=8, out_width=32, stride=2)
    spec = SqueezeExcitation(reduction=4, position=position)
    unit = Bottleneck(block, operator=SelectiveKernel(branches=PLAIN.branches), attention=spec)
    unit.eval()
    se = {position: unit.attention}
    x = draw_images(2, 16, 9, 9)

    def attend(place: str, value: Tensor) -> Tensor:
        return se.get(place, nn.Identity())(value)

    residual = attend("inside", unit.operator(unit.reduce(attend("pre", x))))
    residual = attend("standard", unit.expand(residual))
    expected = attend("post", (residual + attend("identity", unit.shortcut(x))).relu())

    torch.testing.assert_close(unit(x), expected)
    assert unit.attention is not None
    unit.attention = None
    assert not torch.allclose(unit(x), expected)


@pytest.mark.parametrize(
    ("spec", "pool", "excite"),
    [
        (SE, lambda x: x.mean((2, 3), keepdim=True), torch.sigmoid),
        (replace(SE, squeeze="max"), lambda x: x.amax((2, 3), keepdim=True), torch.sigmoid),
        (replace(SE, squeeze="none"), lambda x: x, torch.sigmoid),
        (replace(SE, excitation="tanh"), lambda x: x.mean((2, 3), keepdim=True), torch.tanh),
        (replace(SE, excitation="relu"), lambda x: x.mean((2, 3), keepdim=True), torch.relu),
    ],
)
def test_se_matches_its_definition(spec, pool, excite) -> None:  # noqa: ANN001
    """Squeeze, two layers, excitation."""
    unit = SEUnit(16, spec)
    x = draw_images(2, 16, 6, 5)
    first, second = unit.reduce.weight[..., 0, 0], unit.expand.weight[..., 0, 0]

    hidden = torch.einsum("oc,nchw->nohw", first, pool(x)).relu()
    weights = excite(torch.einsum("oc,nchw->nohw", second, hidden))

    torch.testing.assert_close(unit(x), x * weights)


def test_cbam_matches_its_definition() -> None:
    """Equations 2 and 3 of the paper."""
    unit = CBAMUnit(16, ConvolutionalAttention(reduction=4)).eval()
    x = draw_images(2, 16, 6, 5)
    layers = unit.channel_layers

    channels = (layers(x.mean((2, 3))) + layers(x.amax((2, 3)))).sigmoid()
    y = x * channels[:, :, None, None]
    places = unit.place_layers(torch.stack((y.amax(1), y.mean(1)), dim=1)).sigmoid()

    torch.testing.assert_close(unit(x), y * places)


def test_bam_matches_its_definition() -> None:
    """F + F x M(F), where M combines both halves."""
    unit = BAMUnit(16, BottleneckAttention(reduction=4)).eval()
    x = draw_images(2, 16, 12, 10)

    halves = unit.channel_layers(x.mean((2, 3), keepdim=True)) * unit.place_layers(x)

    torch.testing.assert_close(unit(x), x + x * halves.sigmoid())


@pytest.mark.parametrize(
    ("body", "operator", "attention", "units"),
    [
        (SMALL_BODY, PLAIN, SE, ["stages.0.0", "stages.1.0", "stages.1.1"]),
        (SMALL_BODY, PLAIN, replace(SE, stages=(2,)), ["stages.1.0", "stages.1.1"]),
        (
            SMALL_MOBILENET,
            DEPTHWISE_CONVOLUTION,
            replace(SE, stages=(2,)),
            ["stages.1.0", "stages.1.1"],
        ),
        (
            SMALL_BODY,
            PLAIN,
            ConvolutionalAttention(reduction=4),
            ["stages.0.0", "stages.1.0", "stages.1.1"],
        ),
        (SMALL_BODY, PLAIN, BottleneckAttention(reduction=4), ["stages.0"]),
    ],
)
def test_attention_is_in_the_blocks_of_its_stages(
    body: AnyBody, operator: SelectiveKernel, attention: BlockAttention, units: list[str]
) -> None:
    """SE and CBAM are in every block of their stages, BAM after every stage but the last."""
    network = build(NetworkSpec(body=body, operator=operator, attention=attention))

    found = [
        name.rpartition(".")[0]
        for name, module in network.named_modules()
        if isinstance(module, SEUnit | CBAMUnit | BAMUnit)
    ]

    assert found == units


def test_every_attention_and_body_can_be_built() -> None:
    """Each has its entry in the tables of units, networks and checkpoint layouts."""
    assert UNITS.keys() == set(ATTENTIONS.values())
    assert NETWORK_CLASSES.keys() == LAYOUTS.keys() == set(FAMILIES.values())


def test_unknown_kinds_of_attention_are_refused() -> None:
    """The message names the class that has no unit."""
    with pytest.raises(TypeError, match=r"attention must be one of SqueezeExcitation, .* got Stem"):
        build_attention(Stem(), 16)  # type: ignore[arg-type]


def test_kernel_combinations_have_the_kernels_of_their_names() -> None:
    """The names are those of Table 7."""
    extents = {
        name: [branch.extent for branch in NETWORKS[name].operator.branches]
        for name in ("sknet50_k7_sum", "sknet50_k5k7", "sknet50_k3k5k7_sum", "sknet50_7x7_g128")
    }

    assert extents == {
        "sknet50_k7_sum": [7],
        "sknet50_k5k7": [5, 7],
        "sknet50_k3k5k7_sum": [3, 5, 7],
        "sknet50_7x7_g128": [3, 7],
    }


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_interleaving_alternates_channels(memory_format: torch.memory_format) -> None:
    """In both memory formats, which are kept."""
    first, second = (
        draw_images(2, 3, 4, 5, seed=seed).to(memory_format=memory_format) for seed in (1, 2)
    )

    y = interleave(first, second)

    assert y.is_contiguous(memory_format=memory_format)
    assert torch.equal(y[:, 0::2], first)
    assert torch.equal(y[:, 1::2], second)


@st.composite
def operators(draw: st.DrawFn) -> SelectiveKernel:
    """Any operator that fits 8 channels."""
    branch = st.builds(
        Branch,
        kernel=st.sampled_from([1, 3, 5, 7]),
        dilation=st.integers(1, 3),
        groups=st.sampled_from([1, 2, 4, 8, None]),
    )
    return SelectiveKernel(
        branches=tuple(draw(st.lists(branch, min_size=1, max_size=4))),
        attention=draw(st.sampled_from(["softmax", "sum"])),
        reduction=draw(st.integers(1, 32)),
        min_width=draw(st.integers(1, 8)),
    )


@given(
    operator=operators(),
    stride=st.integers(1, 3),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    batch=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_every_unit_is_the_weighted_sum_of_its_branches(
    operator: SelectiveKernel, stride: int, size: tuple[int, int], batch: int
) -> None:
    """For all kernels, dilations, groups, strides and sizes; odd sizes are rounded up."""
    unit = SKConv(
        16,
        operator.branches,
        attention=operator.attention,
        reduction=operator.reduction,
        min_width=operator.min_width,
        stride=stride,
    ).eval()
    x = draw_images(batch, 16, *size)

    with torch.inference_mode():
        y = unit(x)

        features = [branch(x) for branch in unit.branches]
        weights = torch.ones(batch, len(features), 16)
        if operator.attention == "softmax":
            weights = unit.weigh(features)
            torch.testing.assert_close(weights.sum(dim=1), torch.ones(batch, 16))
    expected = sum(f * weights[:, i, :, None, None] for i, f in enumerate(features))
    assert y.shape == (batch, 16, -(-size[0] // stride), -(-size[1] // stride))
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-4)


@given(
    operator=operators(),
    depths=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    stride_place=st.sampled_from(["operator", "reduce"]),
    attention=st.sampled_from([None, SE, ConvolutionalAttention(reduction=4)]),
    size=st.integers(9, 40),
)
@settings(max_examples=20, deadline=None)
def test_every_body_takes_every_operator(
    operator: SelectiveKernel,
    depths: list[int],
    stride_place: str,
    attention: BlockAttention | None,
    size: int,
) -> None:
    """Whatever a spec allows can be built and run."""
    widths = tuple(16 * 2**stage for stage in range(len(depths)))
    body = Body(
        stem=SMALL_BODY.stem,
        depths=tuple(depths),
        mid_widths=widths,
        out_widths=widths,
        stride_place=stride_place,
    )
    spec = NetworkSpec(body=body, operator=operator, attention=attention, num_classes=4)

    with torch.device("meta"):
        network = build_network(spec).eval()

    assert network(torch.empty(2, 3, size, size, device="meta")).shape == (2, 4)
    assert len([m for m in network.modules() if isinstance(m, Bottleneck)]) == sum(depths)


def test_a_single_summed_depthwise_branch_is_the_plain_convolution() -> None:
    """Depthwise means one group per channel, for any width."""
    unit = SKConv(24, [Branch(dilation=2, groups=None)], attention="sum", activation="none").eval()
    x = draw_images(2, 24, 7, 7)
    convolution, norm = unit.branches[0]

    expected = nn.functional.conv2d(x, convolution.weight, padding=2, dilation=2, groups=24)

    torch.testing.assert_close(unit(x), norm(expected))


def test_unknown_activations_are_refused() -> None:
    """Like every other setting of the unit."""
    with pytest.raises(ValueError, match="activation must be one of relu, relu6, none, got 'elu'"):
        SKConv(8, [Branch(groups=1)], activation="elu")  # type: ignore[arg-type]


@pytest.fixture
def sknet() -> Iterator[nn.Module]:
    """The tiny SKNet in evaluation mode."""
    network = build(NETWORKS["sknet_tiny"]).eval()
    with torch.inference_mode():
        yield network


def test_recorded_selection_has_the_papers_names(sknet: nn.Module) -> None:
    """Weights of all units are in order, sum to one and depend on the image."""
    images = draw_images(2, 3, 32, 32)

    with record_selection(sknet) as weights:
        logits = sknet(images)

    assert {name: tuple(value.shape) for name, value in weights.items()} == {
        "SK_2_1": (2, 2, 16),
        "SK_3_1": (2, 2, 32),
        "SK_4_1": (2, 2, 64),
    }
    for value in weights.values():
        torch.testing.assert_close(value.sum(dim=1), torch.ones_like(value[:, 0]))
        assert not torch.allclose(value[0], value[1])
    torch.testing.assert_close(logits, sknet(images), atol=0, rtol=0)


def test_recorded_selection_is_that_of_the_unit(sknet: nn.Module) -> None:
    """The recording must not compute the softmax differently."""
    unit = sknet.stages[0][0].operator
    features: list[Tensor] = []
    for branch in unit.branches:
        branch.register_forward_hook(lambda _module, _inputs, y: features.append(y))

    with record_selection(sknet) as weights:
        sknet(draw_images(2, 3, 32, 32))

    torch.testing.assert_close(weights["SK_2_1"], unit.weigh(features))


def test_recording_ends_with_the_with_block(sknet: nn.Module) -> None:
    """Even if the pass fails: a leftover hook would use memory for the rest of the training."""
    with pytest.raises(RuntimeError), record_selection(sknet) as weights:
        sknet(draw_images(2, 4, 32, 32))

    sknet(draw_images(2, 3, 32, 32))

    assert weights == {}


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DataParallel": nn.DataParallel,
    "compiled": torch.compile,
    "Sequential": lambda network: nn.Sequential(nn.Identity(), network),
    "nested": lambda network: nn.DataParallel(nn.Sequential(torch.compile(network))),
}
"""Ways to wrap a network."""


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_keep_the_papers_names(
    sknet: nn.Module, wrap: Callable[[nn.Module], nn.Module]
) -> None:
    """Users record selection from whatever they train."""
    units = find_selective_units(sknet)

    assert find_selective_units(wrap(sknet)) == units
    assert list(units) == ["SK_2_1", "SK_3_1", "SK_4_1"]


def test_selection_of_a_compiled_network_is_recorded(sknet: nn.Module) -> None:
    """It is that of the network itself."""
    images = draw_images(2, 3, 32, 32)
    compiled = torch.compile(sknet, backend="eager")

    with record_selection(sknet) as expected:
        sknet(images)
    with record_selection(compiled) as weights:
        compiled(images)

    torch.testing.assert_close(weights, expected)


def test_units_of_wrapped_stages_keep_the_papers_names(sknet: nn.Module) -> None:
    """Compiling a network stage by stage is common, as it saves compile time."""
    names = list(find_selective_units(sknet))

    for position, stage in enumerate(sknet.stages):
        sknet.stages[position] = torch.compile(stage, backend="eager")

    assert list(find_selective_units(sknet)) == names


def test_units_of_several_networks_keep_apart() -> None:
    """Both have an SK_2_1; a network that does not select changes no name."""
    student, teacher, plain = map(create_model, ("sknet_tiny", "sknet_tiny", "resnext_tiny"))

    both = find_selective_units(nn.ModuleDict({"student": student, "teacher": teacher}))
    one = find_selective_units(nn.ModuleDict({"student": student, "teacher": plain}))

    assert list(both) == [f"{n}.SK_{s}_1" for n in ("student", "teacher") for s in (2, 3, 4)]
    assert both["teacher.SK_3_1"] is teacher.stages[1][0].operator
    assert list(one) == ["SK_2_1", "SK_3_1", "SK_4_1"]


def test_units_of_other_networks_are_named_by_their_modules() -> None:
    """The paper's names apply to its stages only; units that sum are left out."""
    with torch.device("meta"):
        shufflenet = build_network(SMALL_NETWORKS["shufflenet_sk"])
        summed = build_network(SMALL_NETWORKS["sum"])
        sknet50 = create_model("sknet50")

    assert next(iter(find_selective_units(shufflenet))) == "stages.0.0.operator"
    assert find_selective_units(summed) == {}
    assert {"SK_2_3", "SK_3_4", "SK_4_6", "SK_5_3"} <= find_selective_units(sknet50).keys()


@pytest.mark.parametrize("stage", [2, 3, 4])
def test_names_of_se_stages_count_the_stem(stage: int) -> None:
    """As in Table 13 of SENet, the first stage after the stem is stage 2."""
    attention = NETWORKS[f"se_resnet50_stage{stage}"].attention

    assert isinstance(attention, SqueezeExcitation)
    assert attention.stages == (stage - 1,)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sknet_tiny", {}),
        (
            "sknet_tiny",
            {"operator": SelectiveKernel(branches=(Branch(groups=4),) * 2, descriptor="linear")},
        ),
        ("resnext_tiny", {}),
        ("resnext_tiny", {"attention": SqueezeExcitation()}),
        ("resnext_tiny", {"attention": SqueezeExcitation(batch_norm=True)}),
        ("resnext_tiny", {"attention": SqueezeExcitation(batch_norm=True, squeeze="none")}),
    ],
)
def test_networks_that_normalise_descriptors_cannot_train_on_one_image(
    name: str, changes: dict[str, Any]
) -> None:
    """The property of the spec says so before anything is built."""
    spec = replace(NETWORKS[name], **changes)
    network = build_network(spec).train()

    try:
        network(torch.zeros(1, 3, 32, 32))
        is_refused = False
    except ValueError:
        is_refused = True

    assert spec.normalises_descriptors == is_refused
