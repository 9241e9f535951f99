"""Specs of published bodies and networks by name; `create_model` builds a network from its name."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from sknet.spec import (
    AnyBody,
    Attention,
    BlockAttention,
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
)

if TYPE_CHECKING:
    from sknet.build import Network

CIFAR29 = Body(
    stem=Stem(width=64, kernel=3, stride=1, pool=False),
    depths=(3, 3, 3),
    mid_widths=(512, 1024, 2048),
    out_widths=(256, 512, 1024),
    input_size=32,
)
"""ResNeXt-29 with cardinality x width = 512, for 32x32 images (ResNeXt paper, section 5.3)."""

RESNET_WIDTHS = (64, 128, 256, 512)
"""Widths of ResNet's 3x3 convolutions: half of ResNeXt's."""

LIGHTWEIGHT_BODIES: dict[str, ShuffleNetV2Body | MobileNetV2Body] = {
    "shufflenet_v2_x0_5": ShuffleNetV2Body(),
    "shufflenet_v2_x1_0": ShuffleNetV2Body(out_widths=(116, 232, 464)),
    "mobilenet_v2": MobileNetV2Body(),
}
"""Bodies with a depthwise operator."""

BODIES: dict[str, AnyBody] = {
    "imagenet50": Body(),
    "resnet50": Body(mid_widths=RESNET_WIDTHS),
    "resnet50_senet": Body(mid_widths=RESNET_WIDTHS, stride_place="reduce"),
    "cifar29": CIFAR29,
    **LIGHTWEIGHT_BODIES,
    "tiny": Body(
        stem=Stem(width=16, kernel=3, stride=2, pool=False),
        depths=(1, 1, 1),
        mid_widths=(16, 32, 64),
        out_widths=(32, 64, 128),
        input_size=32,
        divisor=8,
    ),
}
"""`imagenet50` is Table 1 of SKNet; `resnet50_senet` has the stride on the first 1x1 of a stage, as
the SENet paper counts it; `tiny` is ours, for 32x32 images on a CPU: an eighth of the widths of
imagenet50, a quarter of its stem's, and three stages of one block."""

KERNELS = {f"k{2 * dilation + 1}": Branch(dilation=dilation) for dilation in (1, 2, 3)}
"""K3, K5 and K7 of Table 7 of SKNet: 3x3 with dilation 1, 2, 3 and 32 groups."""

MERGES: dict[str, Attention] = {"": "softmax", "_sum": "sum"}
"""How branches are merged, by the suffix of a kernel combination's name."""

GROUPED_CONVOLUTION = SelectiveKernel(branches=(KERNELS["k3"],), attention="sum")
"""The operator of ResNeXt: one 3x3 kernel with 32 groups."""

DENSE_CONVOLUTION = SelectiveKernel(branches=(Branch(groups=1),), attention="sum")
"""The operator of ResNet."""

DEPTHWISE_CONVOLUTION = SelectiveKernel(branches=(Branch(groups=None),), attention="sum")
"""The operator of ShuffleNetV2 and MobileNetV2."""

DEPTHWISE_SELECTION = SelectiveKernel(
    branches=(Branch(groups=None), Branch(groups=None, dilation=2))
)
"""SK in place of a depthwise 3x3. Table 4 of SKNet states no M and r: these are from Table 2."""

SE_WITH_BIASES = SqueezeExcitation(bias=True)
"""SE as in the public SE-ResNeXt checkpoints; the SENet paper counts no biases."""

DEPTHS: dict[int, tuple[int, ...]] = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Blocks per stage of the ImageNet bodies, by number of layers."""

RESNET50 = NetworkSpec(body=BODIES["resnet50"], operator=DENSE_CONVOLUTION)
"""ResNet-50 with the stride on the 3x3 convolution, as today's libraries build it."""

RESNET50_SENET = replace(RESNET50, body=BODIES["resnet50_senet"])
"""ResNet-50 as the SENet paper counts it, with the stride on the first 1x1 of a stage."""


def _kernels(*branches: Branch, attention: Attention = "softmax") -> NetworkSpec:
    """SKNet-50 with the given kernels, selected or summed (Tables 6 and 7)."""
    return NetworkSpec(operator=SelectiveKernel(branches=branches, attention=attention))


def _resnext(
    depth: int, *, operator: SelectiveKernel, attention: BlockAttention | None = None
) -> NetworkSpec:
    return NetworkSpec(body=Body(depths=DEPTHS[depth]), operator=operator, attention=attention)


def _resnext29(
    cardinality: int, width: int, *, attention: BlockAttention | None = None
) -> NetworkSpec:
    """ResNeXt-29 for 32x32 images with the 10 classes of CIFAR (ResNeXt paper, section 5.3)."""
    mid_width = cardinality * width
    body = replace(CIFAR29, mid_widths=(mid_width, 2 * mid_width, 4 * mid_width))
    operator = SelectiveKernel(branches=(Branch(groups=cardinality),), attention="sum")
    return NetworkSpec(body=body, operator=operator, attention=attention, num_classes=10)


def _insight(depth: int) -> NetworkSpec:
    """SK-ResNet of the authors' later PyTorch release, which differs from the paper's SK unit.

    It has a dense and a grouped 3x3 kernel without dilation, ResNet's widths, and no floor L.
    """
    return NetworkSpec(
        body=Body(depths=DEPTHS[depth], mid_widths=RESNET_WIDTHS),
        operator=SelectiveKernel(branches=(Branch(groups=1), Branch(groups=32)), min_width=1),
    )


BASELINES = {
    "resnet50": RESNET50,
    "resnet50_senet": RESNET50_SENET,
    "resnext50_32x4d": _resnext(50, operator=GROUPED_CONVOLUTION),
    "resnext101_32x4d": _resnext(101, operator=GROUPED_CONVOLUTION),
    # 17/16 of every width but the stem's. This and the next two are from Table 3 of SKNet.
    "resnext50_wider": NetworkSpec(
        body=Body(mid_widths=(136, 272, 544, 1088), out_widths=(272, 544, 1088, 2176)),
        operator=SelectiveKernel(branches=(Branch(groups=34),), attention="sum"),
    ),
    "resnext56_deeper": NetworkSpec(body=Body(depths=(3, 4, 8, 3)), operator=GROUPED_CONVOLUTION),
    "resnext50_36x4d": NetworkSpec(
        body=Body(mid_widths=(144, 288, 576, 1152)),
        operator=SelectiveKernel(branches=(Branch(groups=36),), attention="sum"),
    ),
}
"""Networks without attention, on ImageNet bodies."""

ATTENTION_NETWORKS = {
    f"{name}{depth}{suffix}": _resnext(depth, operator=GROUPED_CONVOLUTION, attention=attention)
    for name, suffix, attention in (
        ("senet", "", SE_WITH_BIASES),
        ("resnext", "_bam", BottleneckAttention()),
        ("resnext", "_cbam", ConvolutionalAttention()),
    )
    for depth in (50, 101)
}
"""ResNeXt 32x4d with SE, BAM and CBAM: Table 2 of SKNet."""

SKNETS = {f"sknet{depth}": _resnext(depth, operator=SelectiveKernel()) for depth in DEPTHS}
"""Table 1 of SKNet. SKNet-101 of the authors' Caffe release has narrower descriptors in stage 3,
which a spec cannot express; docs/networks.md lists this and other differences."""

KERNEL_COMBINATIONS = {
    **{f"sknet50_{name}_sum": _kernels(KERNELS[name], attention="sum") for name in KERNELS},
    **{
        f"sknet50_{''.join(names)}{suffix}": _kernels(
            *(KERNELS[name] for name in names), attention=attention
        )
        for names in (("k3", "k5"), ("k3", "k7"), ("k5", "k7"), ("k3", "k5", "k7"))
        for suffix, attention in MERGES.items()
    },
    "sknet50_k3k3": _kernels(KERNELS["k3"], KERNELS["k3"]),
    "sknet50_5x5_g64": _kernels(KERNELS["k3"], Branch(kernel=5, groups=64)),
    "sknet50_7x7_g128": _kernels(KERNELS["k3"], Branch(kernel=7, groups=128)),
}
"""Table 7 of SKNet, and Table 6 in the last three; K3+K5 with SK is SKNet-50 itself."""

SENET_VARIANTS = {
    f"se_resnet50_{name}": replace(RESNET50_SENET, attention=attention)
    for name, attention in {
        **{f"r{ratio}": SqueezeExcitation(reduction=ratio) for ratio in (2, 4, 8, 16, 32)},
        # The paper counts the stem as stage 1.
        **{f"stage{stage}": SqueezeExcitation(stages=(stage - 1,)) for stage in (2, 3, 4)},
        "max": SqueezeExcitation(squeeze="max"),
        "no_squeeze": SqueezeExcitation(squeeze="none"),
        "relu": SqueezeExcitation(excitation="relu"),
        "tanh": SqueezeExcitation(excitation="tanh"),
        "pre": SqueezeExcitation(position="pre"),
        "post": SqueezeExcitation(position="post"),
        "identity": SqueezeExcitation(position="identity"),
        "3x3": SqueezeExcitation(position="inside"),
    }.items()
}
"""Tables 10 to 16 of SENet; r16 is the paper's SE: average, sigmoid, all stages."""

LIGHTWEIGHT_NETWORKS = {
    f"{name}{suffix}": NetworkSpec(body=body, operator=operator, attention=attention)
    for name, body in LIGHTWEIGHT_BODIES.items()
    for suffix, operator, attention in (
        ("", DEPTHWISE_CONVOLUTION, None),
        ("_se", DEPTHWISE_CONVOLUTION, SqueezeExcitation()),
        ("_sk", DEPTHWISE_SELECTION, None),
    )
}
"""Table 4 of SKNet, and the same variants of MobileNetV2."""

SMALL_IMAGE_NETWORKS = {
    "resnext29_16x32d": _resnext29(16, 32),
    "resnext29_8x64d": _resnext29(8, 64),
    "resnext29_16x64d": _resnext29(16, 64),
    # On 16x32d, as stated (25.7M); the printed 35.0M is SE on 8x64d.
    "senet29": _resnext29(16, 32, attention=SqueezeExcitation()),
    # 1x1 and 3x3 with r=32 (27.8M) is closest to the printed 27.7M; 3x3 and 5x5 has 37.5M.
    "sknet29": replace(
        _resnext29(16, 32),
        operator=SelectiveKernel(
            branches=(Branch(kernel=1, groups=16), Branch(groups=16)), reduction=32
        ),
    ),
    "resnext_tiny": NetworkSpec(
        body=BODIES["tiny"], operator=GROUPED_CONVOLUTION.scaled_down(8), num_classes=10
    ),
    "sknet_tiny": NetworkSpec(
        body=BODIES["tiny"], operator=SelectiveKernel().scaled_down(8), num_classes=10
    ),
}
"""Table 5 of SKNet, and the networks of the tiny body."""

NETWORKS: dict[str, NetworkSpec] = {
    **BASELINES,
    **ATTENTION_NETWORKS,
    **SKNETS,
    **KERNEL_COMBINATIONS,
    **SENET_VARIANTS,
    **LIGHTWEIGHT_NETWORKS,
    **SMALL_IMAGE_NETWORKS,
    **{f"sk_resnet{depth}_insight": _insight(depth) for depth in (50, 101)},
}
"""Every network that `create_model` can build."""


def list_models() -> list[str]:
    """Lists the names of all networks, sorted.

    Examples:
        >>> [name for name in list_models() if name.startswith("sknet2")]
        ['sknet26', 'sknet29']
    """
    return sorted(NETWORKS)


def create_model(
    name: str, *, num_classes: int | None = None, in_channels: int | None = None
) -> Network:
    """Builds the network called `name`, initialised from PyTorch's global generator.

    Args:
        name: One of `list_models()`.
        num_classes: Outputs of the classifier; those of the published network if None.
        in_channels: Channels of the images; those of the published network if None.

    Raises:
        ValueError: If no network has that name, or `num_classes` or `in_channels` is below 1.

    Examples:
        >>> network = create_model("sknet26", num_classes=10)
        >>> sum(parameter.numel() for parameter in network.parameters())
        14717898
    """
    from sknet.build import build_network  # imported late: it loads torch

    if name not in NETWORKS:
        close = get_close_matches(name, NETWORKS, n=1)
        hint = f"did you mean {close[0]}?" if close else "sknet.list_models() lists all."
        raise ValueError(f"name must be a network of the zoo, got {name!r}; {hint}")
    given: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels}
    changes = {key: value for key, value in given.items() if value is not None}
    return build_network(replace(NETWORKS[name], **changes))
