"""Frozen values that describe an operator, an attention, a body and a network; what is possible."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, get_args

Attention = Literal["softmax", "sum"]
"""How branches are merged: weighed by a softmax (Select), or plainly summed."""

Squeeze = Literal["avg", "max", "none"]
"""How SE describes a channel: its average, its maximum, or every place of it for itself."""

Excitation = Literal["sigmoid", "relu", "tanh"]
"""What SE's weights go through last."""

Position = Literal["standard", "pre", "post", "identity", "inside"]
"""Where in a bottleneck an attention sits: on its last convolution, before its first, after the
addition, on the shortcut, or on the spatial operator."""

Setting = str | int | float | bool | None | tuple[str | int | float | bool | None, ...]
"""What a user's own operator may be given."""

StridePlace = Literal["operator", "reduce"]
"""Which convolution of a bottleneck has the stride: the spatial operator, or the first 1x1."""


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _check_sizes(sizes: tuple[int, ...]) -> None:
    if min(sizes) < 1:
        raise ValueError(f"every size of a body must be at least 1, got {min(sizes)}")


@dataclass(frozen=True)
class Branch:
    """One convolution of the split: its kernel, with dilation D and groups G."""

    kernel: int = 3
    """Side of the square kernel; odd, so that the output is centred on the input."""

    dilation: int = 1
    """Distance between neighbouring kernel taps (the paper's D)."""

    groups: int | None = 32
    """Groups of the convolution (the paper's G); None for one a channel, a depthwise kernel."""

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and positive, got {self.kernel}")
        if self.dilation < 1:
            raise ValueError(f"dilation must be at least 1, got {self.dilation}")
        if self.groups is not None and self.groups < 1:
            raise ValueError(f"groups must be at least 1, got {self.groups}")

    @property
    def extent(self) -> int:
        """Side of the square that the dilated kernel covers (the paper's resulting kernel).

        >>> Branch(kernel=3, dilation=2).extent
        5
        """
        return self.dilation * (self.kernel - 1) + 1

    def __str__(self) -> str:
        groups = "depthwise" if self.groups is None else f"G={self.groups}"
        return f"{self.kernel}x{self.kernel}, D={self.dilation}, {groups}"


@dataclass(frozen=True, kw_only=True)
class SelectiveKernel:
    """The spatial operator of a bottleneck. The defaults are SK[M=2, r=16] of SKNet-50, L=32.

    One summed branch is the grouped convolution of ResNeXt.
    """

    branches: tuple[Branch, ...] = (Branch(), Branch(dilation=2))
    """The M kernels to select from; selection weights come in this order."""

    attention: Attention = "softmax"
    """Whether branches are selected or summed; a sum has no fully connected layer at all."""

    reduction: int = 16
    """Ratio r: the descriptor is max(channels // reduction, min_width) wide."""

    min_width: int = 32
    """Lower bound L of the descriptor's width."""

    def __post_init__(self) -> None:
        if not self.branches:
            raise ValueError("branches must hold at least 1 kernel, got none")
        if self.attention not in ("softmax", "sum"):
            raise ValueError(f"attention must be softmax or sum, got {self.attention!r}")
        if self.reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {self.reduction}")
        if self.min_width < 1:
            raise ValueError(f"min_width must be at least 1, got {self.min_width}")

    def descriptor_width(self, channels: int) -> int:
        """Width d of the fused descriptor of `channels` channels (section 3.1, equation 4)."""
        return max(channels // self.reduction, self.min_width)

    def scaled_down(self, divisor: int) -> "SelectiveKernel":
        """The same operator for a body `divisor` times narrower: groups and L are divided.

        Raises:
            ValueError: If a number of groups or L is not a multiple of `divisor`.
        """
        groups = [("groups", b.groups) for b in self.branches if b.groups is not None]
        for name, value in [*groups, ("L", self.min_width)]:
            if value % divisor:
                raise ValueError(f"{name} must be a multiple of the divisor {divisor}, got {value}")
        branches = tuple(
            b if b.groups is None else replace(b, groups=b.groups // divisor) for b in self.branches
        )
        return replace(self, branches=branches, min_width=self.min_width // divisor)

    def __str__(self) -> str:
        branches = " + ".join(f"[{branch}]" for branch in self.branches)
        selects = self.attention == "softmax"
        return f"{branches}, select r={self.reduction} L={self.min_width}" if selects else branches


@dataclass(frozen=True, kw_only=True)
class UserOperator:
    """A spatial operator that a user wrote: a class of theirs, and what it is given.

    It is built as `Class(channels, stride=stride, **settings)`, and must map (N, channels, H, W) to
    (N, channels, ceil(H / stride), ceil(W / stride)); it brings its own normalisation.
    """

    path: str
    """Where the class is, as `package.module:Class`."""

    settings: tuple[tuple[str, Setting], ...] = ()
    """Names and values of the arguments that it is given besides channels and stride."""

    sources: tuple[tuple[str, str], ...] = ()
    """Files that it is made of, the module's own first, each with its SHA-256."""

    def __post_init__(self) -> None:
        module, sign, name = self.path.partition(":")
        if not (sign and name.isidentifier() and all(map(str.isidentifier, module.split(".")))):
            raise ValueError(f"operator must be sk or package.module:Class, got {self.path!r}")

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.settings)
        return f"{self.path.partition(':')[2]}({settings})"


Operator = SelectiveKernel | UserOperator
"""What may stand between the two 1x1 convolutions of a block."""


@dataclass(frozen=True, kw_only=True)
class SqueezeExcitation:
    """Attention to channels: squeeze, two fully connected layers, excite. The default is SE r=16.

    Reference:
        Hu et al., Squeeze-and-Excitation Networks, TPAMI 2019, sections 3 and 6.
    """

    reduction: int = 16
    """Ratio r: the first layer's output is channels // reduction wide."""

    squeeze: Squeeze = "avg"
    """How a channel is described; `none` turns both layers into 1x1 convolutions of the map."""

    excitation: Excitation = "sigmoid"
    """What the weights go through last."""

    position: Position = "standard"
    """Where in the bottleneck it sits."""

    stages: tuple[int, ...] | None = None
    """The stages that have it, all if None. The first stage after the stem is 1; the papers, which
    count the stem, call it stage 2."""

    bias: bool = False
    """Whether both layers have a bias; section 6 of the paper does better without."""

    batch_norm: bool = False
    """Whether batch normalisation follows each of both layers."""

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {self.reduction}")
        _check_choice("squeeze", self.squeeze, get_args(Squeeze))
        _check_choice("excitation", self.excitation, get_args(Excitation))
        _check_choice("position", self.position, get_args(Position))
        if self.stages is not None and sorted(set(self.stages)) != list(self.stages):
            raise ValueError(f"stages must be in order and differ, got {self.stages}")
        if self.stages == ():
            raise ValueError("stages must name at least 1 stage, or be None for all, got none")

    def hidden_width(self, channels: int) -> int:
        """Outputs of the first layer."""
        return channels // self.reduction


@dataclass(frozen=True, kw_only=True)
class ConvolutionalAttention:
    """CBAM: attention to channels, then to places, on the output of every bottleneck.

    Reference:
        Woo et al., CBAM: Convolutional Block Attention Module, ECCV 2018.
    """

    position: ClassVar[Position] = "standard"
    stages: ClassVar[None] = None

    reduction: int = 16
    """Ratio r of the two layers that weigh channels."""

    kernel: int = 7
    """Side of the convolution that weighs places."""

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {self.reduction}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and positive, got {self.kernel}")

    def hidden_width(self, channels: int) -> int:
        """Outputs of the first layer that weighs channels."""
        return channels // self.reduction


@dataclass(frozen=True, kw_only=True)
class BottleneckAttention:
    """BAM: attention to channels and places at once, after every stage but the last.

    Reference:
        Park et al., BAM: Bottleneck Attention Module, BMVC 2018.
    """

    position: ClassVar[Literal["between"]] = "between"
    stages: ClassVar[None] = None

    reduction: int = 16
    """Ratio r of both of its halves."""

    dilation: int = 4
    """Dilation of the two 3x3 convolutions that look at places."""

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {self.reduction}")
        if self.dilation < 1:
            raise ValueError(f"dilation must be at least 1, got {self.dilation}")

    def hidden_width(self, channels: int) -> int:
        """Channels within both halves."""
        return channels // self.reduction


BlockAttention = SqueezeExcitation | ConvolutionalAttention | BottleneckAttention
"""What may be added to a body's blocks, or between its stages."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """The shape of one block of a body."""

    in_width: int
    """Channels that it is given."""

    mid_width: int
    """Channels of its spatial operator."""

    out_width: int
    """Channels that it gives."""

    stride: int
    """By how much it shrinks the image."""

    def attended_width(self, position: Position) -> int:
        """Channels at `position`."""
        return {"pre": self.in_width, "inside": self.mid_width}.get(position, self.out_width)


@dataclass(frozen=True, kw_only=True)
class Stem:
    """What comes before the first stage. The default is ResNet's for ImageNet."""

    width: int = 64
    """Output channels."""

    kernel: int = 7
    """Side of the convolution's square kernel."""

    stride: int = 2
    """Stride of the convolution."""

    pool: bool = True
    """Whether a 3x3 max pooling of stride 2 follows."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """Where operators are built in. The default is the 50-layer body of Table 1."""

    stem: Stem = Stem()
    """What comes before the first stage."""

    depths: tuple[int, ...] = (3, 4, 6, 3)
    """Number of bottlenecks in each stage."""

    mid_widths: tuple[int, ...] = (128, 256, 512, 1024)
    """Channels of the spatial operator, by stage."""

    out_widths: tuple[int, ...] = (256, 512, 1024, 2048)
    """Output channels of the bottlenecks, by stage."""

    input_size: int = 224
    """Side in pixels of the images that the body is made for."""

    divisor: int = 1
    """By how much the body is narrower than the paper's; groups and L are divided by it."""

    stride_place: StridePlace = "operator"
    """Which convolution of a stage's first bottleneck has the stride."""

    def __post_init__(self) -> None:
        _check_choice("stride_place", self.stride_place, get_args(StridePlace))
        stages = {len(self.depths), len(self.mid_widths), len(self.out_widths)}
        if len(stages) != 1 or not self.depths:
            raise ValueError(
                "depths, mid_widths and out_widths must have one entry for each stage, got "
                f"{len(self.depths)}, {len(self.mid_widths)} and {len(self.out_widths)}"
            )
        _check_sizes(
            (*self.depths, *self.mid_widths, *self.out_widths, self.input_size, self.divisor)
        )

    @property
    def operator_widths(self) -> tuple[int, ...]:
        """Channels of the spatial operator, by stage."""
        return self.mid_widths

    def stages(self) -> tuple[tuple[Block, ...], ...]:
        """The bottlenecks of each stage; the first of stages 2, 3, ... has stride 2."""
        in_widths = (self.stem.width, *self.out_widths)
        shapes = zip(self.depths, in_widths, self.mid_widths, self.out_widths, strict=False)
        return tuple(
            tuple(
                Block(
                    in_width=out_width if position else in_width,
                    mid_width=mid_width,
                    out_width=out_width,
                    stride=2 if stage and not position else 1,
                )
                for position in range(depth)
            )
            for stage, (depth, in_width, mid_width, out_width) in enumerate(shapes)
        )

    def architecture(self) -> dict[str, Any]:
        """What is built, in plain values."""
        values: dict[str, Any] = {
            "stem": asdict(self.stem),
            "depths": list(self.depths),
            "mid_widths": list(self.mid_widths),
            "out_widths": list(self.out_widths),
        }
        if self.stride_place != "operator":  # left out where classic: older identities stand
            values["stride_place"] = self.stride_place
        return values

    def __str__(self) -> str:
        rows = (("blocks", self.depths), ("mid", self.mid_widths), ("out", self.out_widths))
        return ", ".join(f"{name} {'-'.join(map(str, values))}" for name, values in rows)


@dataclass(frozen=True, kw_only=True)
class ShuffleNetV2Body:
    """ShuffleNetV2. The default is 0.5x; its operator is built on half of a unit's channels.

    Reference:
        Ma et al., ShuffleNet V2, ECCV 2018, Table 5.
    """

    stem_width: int = 24
    """Channels of the 3x3 stem."""

    stem_stride: int = 2
    """Stride of the stem."""

    stem_pool: bool = True
    """Whether a 3x3 max pooling of stride 2 follows the stem."""

    depths: tuple[int, ...] = (4, 8, 4)
    """Number of units in each stage; the first has stride 2."""

    out_widths: tuple[int, ...] = (48, 96, 192)
    """Channels of each stage."""

    last_width: int = 1024
    """Channels of the last 1x1 convolution."""

    input_size: int = 224
    """Side in pixels of the images that the body is made for."""

    divisor: int = 1
    """By how much the body is narrower than the paper's; L is divided by it."""

    def __post_init__(self) -> None:
        if len(self.depths) != len(self.out_widths) or not self.depths:
            raise ValueError(
                "depths and out_widths must have one entry for each stage, got "
                f"{len(self.depths)} and {len(self.out_widths)}"
            )
        sizes = (self.stem_width, self.stem_stride, self.last_width, self.input_size, self.divisor)
        _check_sizes((*self.depths, *self.out_widths, *sizes))
        odd = [width for width in self.out_widths if width % 2]
        if odd:
            raise ValueError(f"out_widths must be even, a unit works on one half, got {odd[0]}")

    @property
    def operator_widths(self) -> tuple[int, ...]:
        """Channels of the spatial operator, by stage."""
        return tuple(width // 2 for width in self.out_widths)

    def stages(self) -> tuple[tuple[Block, ...], ...]:
        """The units of each stage, as whole units: their halves are the unit's own affair."""
        in_widths = (self.stem_width, *self.out_widths)
        return tuple(
            tuple(
                Block(
                    in_width=out_width if position else in_width,
                    mid_width=out_width // 2,
                    out_width=out_width,
                    stride=1 if position else 2,
                )
                for position in range(depth)
            )
            for depth, in_width, out_width in zip(
                self.depths, in_widths, self.out_widths, strict=False
            )
        )

    def architecture(self) -> dict[str, Any]:
        """What is built, in plain values."""
        values: dict[str, Any] = {
            "family": "shufflenet_v2",
            "stem_width": self.stem_width,
            "depths": list(self.depths),
            "out_widths": list(self.out_widths),
            "last_width": self.last_width,
        }
        if (self.stem_stride, self.stem_pool) != (2, True):  # left out where classic, as above
            values |= {"stem_stride": self.stem_stride, "stem_pool": self.stem_pool}
        return values

    def __str__(self) -> str:
        rows = (("units", self.depths), ("out", self.out_widths))
        return ", ".join(f"{name} {'-'.join(map(str, values))}" for name, values in rows)


@dataclass(frozen=True, kw_only=True)
class MobileNetV2Body:
    """MobileNetV2. The default is 1.0x; its operator is built on a block's expanded channels.

    Reference:
        Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018, Table 2.
    """

    stem_width: int = 32
    """Channels of the 3x3 stem of stride 2."""

    depths: tuple[int, ...] = (1, 2, 3, 4, 3, 3, 1)
    """Number of blocks in each stage."""

    expansions: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    """How many times wider than its input a block is inside, by stage."""

    out_widths: tuple[int, ...] = (16, 24, 32, 64, 96, 160, 320)
    """Channels of each stage."""

    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    """Stride of each stage's first block."""

    last_width: int = 1280
    """Channels of the last 1x1 convolution."""

    input_size: int = 224
    """Side in pixels of the images that the body is made for."""

    divisor: int = 1
    """By how much the body is narrower than the paper's; L is divided by it."""

    def __post_init__(self) -> None:
        by_stage = (self.depths, self.expansions, self.out_widths, self.strides)
        if len(set(map(len, by_stage))) != 1 or not self.depths:
            raise ValueError(
                "depths, expansions, out_widths and strides must have one entry for each stage, "
                f"got {', '.join(str(len(values)) for values in by_stage)}"
            )
        sizes = (self.stem_width, self.last_width, self.input_size, self.divisor)
        _check_sizes((*sizes, *(size for values in by_stage for size in values)))

    @property
    def operator_widths(self) -> tuple[int, ...]:
        """Channels of the spatial operator, by block."""
        return tuple(block.mid_width for stage in self.stages() for block in stage)

    def stages(self) -> tuple[tuple[Block, ...], ...]:
        """The inverted residual blocks of each stage."""
        in_widths = (self.stem_width, *self.out_widths)
        shapes = zip(
            self.depths, self.expansions, self.strides, in_widths, self.out_widths, strict=False
        )
        return tuple(
            tuple(
                Block(
                    in_width=out_width if position else in_width,
                    mid_width=expansion * (out_width if position else in_width),
                    out_width=out_width,
                    stride=1 if position else stride,
                )
                for position in range(depth)
            )
            for depth, expansion, stride, in_width, out_width in shapes
        )

    def architecture(self) -> dict[str, Any]:
        """What is built, in plain values."""
        return {
            "family": "mobilenet_v2",
            "stem_width": self.stem_width,
            "depths": list(self.depths),
            "expansions": list(self.expansions),
            "out_widths": list(self.out_widths),
            "strides": list(self.strides),
            "last_width": self.last_width,
        }

    def __str__(self) -> str:
        rows = (("blocks", self.depths), ("out", self.out_widths))
        return ", ".join(f"{name} {'-'.join(map(str, values))}" for name, values in rows)


AnyBody = Body | ShuffleNetV2Body | MobileNetV2Body
"""What a network may be built on."""


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """All that a network's architecture depends on. The default is SKNet-50."""

    body: AnyBody = Body()
    """Depths, widths and stem."""

    operator: Operator = SelectiveKernel()
    """The spatial operator of every block, as built (groups and L already divided)."""

    in_channels: int = 3
    """Channels of the images."""

    num_classes: int = 1000
    """Outputs of the classifier."""

    attention: BlockAttention | None = None
    """What is added to the blocks, or between the stages."""

    def __post_init__(self) -> None:
        if self.in_channels < 1 or self.num_classes < 1:
            raise ValueError(
                "in_channels and num_classes must be at least 1, "
                f"got {self.in_channels} and {self.num_classes}"
            )
        faults = list(find_impossible(self.body, self.operator, self.attention))
        if faults:
            raise ValueError("; ".join(faults))

    def architecture(self) -> dict[str, Any]:
        """What is built, in plain values: equal for two specs exactly if the networks are.

        How it was described does not count: ratios r and floors L that give the same descriptor
        widths are the same, and a sum has neither. A part that is absent is left out.
        """
        values = {
            **self.body.architecture(),
            **_describe_operator(self.body, self.operator),
            "in_channels": self.in_channels,
            "num_classes": self.num_classes,
        }
        if self.attention is not None:
            values["attention"] = _describe_attention(self.body, self.attention)
        return values

    def __str__(self) -> str:
        parts = [str(self.body), str(self.operator)]
        if self.attention is not None:
            parts.append(str(self.attention))
        return "; ".join([*parts, f"{self.in_channels} channels to {self.num_classes} classes"])


def find_impossible(
    body: AnyBody, operator: Operator, attention: BlockAttention | None = None
) -> Iterator[str]:
    """Says, stage by stage, why the parts cannot be built on `body`; nothing if they can.

    Of a user's operator nothing is known before it is built.
    """
    branches = operator.branches if isinstance(operator, SelectiveKernel) else ()
    for stage, blocks in enumerate(body.stages(), start=1):
        for width in dict.fromkeys(block.mid_width for block in blocks):
            for branch in branches:
                if branch.groups is not None and width % branch.groups:
                    yield (
                        f"stage {stage}: {width} channels must be a multiple of the groups "
                        f"of {branch.kernel}x{branch.kernel}, got {branch.groups} groups"
                    )
    if isinstance(body, Body):
        if attention is not None:
            yield from _find_impossible_attention(body, attention)
    else:
        yield from _find_impossible_lightweight(body, branches, attention)


def attended_widths(body: AnyBody, attention: BlockAttention) -> list[list[int]]:
    """Channels that `attention` is built on, in the order of its units, by stage."""
    stages = body.stages()
    if attention.position == "between":
        return [*([blocks[-1].out_width] for blocks in stages[:-1]), []]
    chosen = range(1, len(stages) + 1) if attention.stages is None else attention.stages
    return [
        [block.attended_width(attention.position) for block in blocks] if stage in chosen else []
        for stage, blocks in enumerate(stages, start=1)
    ]


def _find_impossible_lightweight(
    body: ShuffleNetV2Body | MobileNetV2Body,
    branches: tuple[Branch, ...],
    attention: BlockAttention | None,
) -> Iterator[str]:
    if any(branch.groups is not None for branch in branches):
        yield "every branch of a lightweight body must be depthwise, groups None"
    if attention is None:
        return
    if not isinstance(attention, SqueezeExcitation):
        yield f"attention of a lightweight body must be SE, got {type(attention).__name__}"
    elif attention.position != "standard":
        yield f"position on a lightweight body must be standard, got {attention.position}"
    else:
        yield from _find_impossible_attention(body, attention)


def _find_impossible_attention(body: AnyBody, attention: BlockAttention) -> Iterator[str]:
    count = len(body.stages())
    unknown = [stage for stage in attention.stages or () if not 1 <= stage <= count]
    if unknown:
        yield f"stages must be within 1 to {count}, got {unknown[0]}"
    for stage, widths in enumerate(attended_widths(body, attention), start=1):
        if widths and not attention.hidden_width(min(widths)):
            yield (
                f"stage {stage}: {min(widths)} channels must be at least the attention's "
                f"reduction, got {attention.reduction}"
            )


def _describe_operator(body: AnyBody, operator: Operator) -> dict[str, Any]:
    """The operator in plain values, with its widths in place of the ratio and the floor."""
    if isinstance(operator, UserOperator):
        plain = {"path": operator.path, "settings": dict(operator.settings)}
        return {"operator": {**plain, "sources": dict(operator.sources)}}
    selects = operator.attention == "softmax"
    return {
        "branches": [asdict(branch) for branch in operator.branches],
        "descriptor_widths": [
            operator.descriptor_width(width) if selects else None for width in body.operator_widths
        ],
    }


def _describe_attention(body: AnyBody, attention: BlockAttention) -> dict[str, Any]:
    """The attention in plain values, with its widths in place of the ratio and the stages."""
    settings = asdict(attention)
    for name in ("reduction", "stages"):
        settings.pop(name, None)
    widths = attended_widths(body, attention)
    return {
        "kind": type(attention).__name__,
        **settings,
        "hidden_widths": [[attention.hidden_width(width) for width in row] for row in widths],
    }
