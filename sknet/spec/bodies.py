"""Specs of bodies, the families of networks without their operators: stems, stages, widths."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, get_args

from sknet.spec.attentions import Position
from sknet.spec.operators import check_choice, check_kernel, check_positive

StridePlace = Literal["operator", "reduce"]
"""Which convolution of a bottleneck has the stride: the spatial operator, or the first 1x1."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """The shape of one block of a body."""

    in_width: int
    """Input channels."""

    mid_width: int
    """Channels of the spatial operator."""

    out_width: int
    """Output channels."""

    stride: int
    """Factor by which the block downsamples the image."""

    def attended_width(self, position: Position) -> int:
        """Number of channels at `position`."""
        return {"pre": self.in_width, "inside": self.mid_width}.get(position, self.out_width)


MOST_BLOCKS = 1000
"""Most blocks of a body."""

Stages = tuple[tuple[Block, ...], ...]
"""The blocks of each stage."""


@dataclass(frozen=True, kw_only=True)
class Stem:
    """The layers before the first stage. The default is ResNet's for ImageNet.

    Examples:
        >>> Stem(width=16, kernel=3, stride=1, pool=False)  # for images of 32x32 pixels
        Stem(width=16, kernel=3, stride=1, pool=False)
    """

    width: int = 64
    """Output channels."""

    kernel: int = 7
    """Side of the convolution's square kernel."""

    stride: int = 2
    """Stride of the convolution."""

    pool: bool = True
    """Whether 3x3 max pooling of stride 2 follows."""

    def __post_init__(self) -> None:
        check_positive(width=self.width, stride=self.stride)
        check_kernel(self.kernel)


@dataclass(frozen=True, kw_only=True)
class Body:
    """A body of bottlenecks, from ResNet to SKNet. The default has the 50 layers of Table 1.

    Examples:
        >>> deeper = Body(depths=(3, 4, 23, 3))
        >>> sum(len(stage) for stage in deeper.stages())
        33
    """

    family: ClassVar[str] = "resnext"
    is_lightweight: ClassVar[bool] = False

    stem: Stem = Stem()
    """The layers before the first stage."""

    depths: tuple[int, ...] = (3, 4, 6, 3)
    """Number of bottlenecks, by stage."""

    mid_widths: tuple[int, ...] = (128, 256, 512, 1024)
    """Channels of the spatial operator, by stage."""

    out_widths: tuple[int, ...] = (256, 512, 1024, 2048)
    """Output channels of the bottlenecks, by stage."""

    input_size: int = 224
    """Side in pixels of the images that the body is made for."""

    divisor: int = 1
    """What the paper's numbers of groups and L are divided by, to suit a narrower body."""

    stride_place: StridePlace = "operator"
    """Which convolution of a stage's first bottleneck has the stride."""

    def __post_init__(self) -> None:
        check_choice("stride_place", self.stride_place, get_args(StridePlace))
        _check_sizes(self)

    @property
    def operator_widths(self) -> tuple[int, ...]:
        """Channels of the spatial operator, by stage."""
        return self.mid_widths

    def stages(self) -> Stages:
        """The bottlenecks of each stage; every stage but the first starts with stride 2."""
        return _chain_blocks(
            self,
            stem_width=self.stem.width,
            strides=(1, *[2] * (len(self.depths) - 1)),
            mid_width=lambda stage, _: self.mid_widths[stage],
        )

    def architecture(self) -> dict[str, Any]:
        """What is built, as plain values."""
        values = _list_settings(self)
        if self.stride_place == "operator":  # left out, as is the family: older identities stay
            del values["stride_place"]
        return values

    def __str__(self) -> str:
        return _join_rows(blocks=self.depths, mid=self.mid_widths, out=self.out_widths)


@dataclass(frozen=True, kw_only=True)
class ShuffleNetV2Body:
    """ShuffleNetV2. The default is 0.5x; its operator works on half of a unit's channels.

    Reference:
        Ma et al., ShuffleNet V2, ECCV 2018, Table 5.

    Examples:
        >>> ShuffleNetV2Body(out_widths=(116, 232, 464)).operator_widths  # 1.0x
        (58, 116, 232)
    """

    family: ClassVar[str] = "shufflenet_v2"
    is_lightweight: ClassVar[bool] = True

    stem_width: int = 24
    """Channels of the 3x3 stem."""

    stem_stride: int = 2
    """Stride of the stem."""

    stem_pool: bool = True
    """Whether 3x3 max pooling of stride 2 follows the stem."""

    depths: tuple[int, ...] = (4, 8, 4)
    """Number of units, by stage; the first of each stage has stride 2."""

    out_widths: tuple[int, ...] = (48, 96, 192)
    """Output channels, by stage."""

    last_width: int = 1024
    """Output channels of the last 1x1 convolution."""

    input_size: int = 224
    """Side in pixels of the images that the body is made for."""

    divisor: int = 1
    """What the paper's L is divided by, to suit a narrower body."""

    def __post_init__(self) -> None:
        _check_sizes(self)
        odd = [width for width in self.out_widths if width % 2]
        if odd:
            raise ValueError(f"out_widths must be even, a unit works on one half, got {odd[0]}")

    @property
    def operator_widths(self) -> tuple[int, ...]:
        """Channels of the spatial operator, by stage."""
        return tuple(width // 2 for width in self.out_widths)

    def stages(self) -> Stages:
        """The units of each stage; input and output are those of both halves together."""
        return _chain_blocks(
            self,
            stem_width=self.stem_width,
            strides=[2] * len(self.depths),
            mid_width=lambda stage, _: self.out_widths[stage] // 2,
        )

    def architecture(self) -> dict[str, Any]:
        """What is built, as plain values."""
        values = {"family": self.family, **_list_settings(self)}
        if (self.stem_stride, self.stem_pool) == (2, True):  # left out: older identities stay
            del values["stem_stride"], values["stem_pool"]
        return values

    def __str__(self) -> str:
        return _join_rows(units=self.depths, out=self.out_widths)


@dataclass(frozen=True, kw_only=True)
class MobileNetV2Body:
    """MobileNetV2. The default is 1.0x; its operator works on a block's expanded channels.

    Reference:
        Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018, Table 2.

    Examples:
        >>> MobileNetV2Body().operator_widths[:3]  # of the first blocks, expanded 1 and 6 times
        (32, 96, 144)
    """

    family: ClassVar[str] = "mobilenet_v2"
    is_lightweight: ClassVar[bool] = True

    stem_width: int = 32
    """Channels of the 3x3 stem of stride 2."""

    depths: tuple[int, ...] = (1, 2, 3, 4, 3, 3, 1)
    """Number of blocks, by stage."""

    expansions: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    """Ratio of a block's expanded channels to its input channels, by stage."""

    out_widths: tuple[int, ...] = (16, 24, 32, 64, 96, 160, 320)
    """Output channels, by stage."""

    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    """Stride of the first block, by stage."""

    last_width: int = 1280
    """Output channels of the last 1x1 convolution."""

    input_size: int = 224
    """Side in pixels of the images that the body is made for."""

    divisor: int = 1
    """What the paper's L is divided by, to suit a narrower body."""

    def __post_init__(self) -> None:
        _check_sizes(self)

    @property
    def operator_widths(self) -> tuple[int, ...]:
        """Channels of the spatial operator, by block."""
        return tuple(block.mid_width for stage in self.stages() for block in stage)

    def stages(self) -> Stages:
        """The inverted residual blocks of each stage."""
        return _chain_blocks(
            self,
            stem_width=self.stem_width,
            strides=self.strides,
            mid_width=lambda stage, in_width: self.expansions[stage] * in_width,
        )

    def architecture(self) -> dict[str, Any]:
        """What is built, as plain values."""
        return {"family": self.family, **_list_settings(self)}

    def __str__(self) -> str:
        return _join_rows(blocks=self.depths, out=self.out_widths)


AnyBody = Body | ShuffleNetV2Body | MobileNetV2Body
"""Every body that a network can have."""

FAMILIES: Mapping[str, type[AnyBody]] = {body.family: body for body in get_args(AnyBody)}
"""Classes of bodies by family, the name that YAML uses."""


def _check_sizes(body: AnyBody) -> None:
    """Raises ValueError unless sizes are positive, and tuples have one entry per stage."""
    sizes = {name: value for name, value in vars(body).items() if type(value) is int}
    by_stage = {name: value for name, value in vars(body).items() if isinstance(value, tuple)}
    lengths = [len(values) for values in by_stage.values()]
    if len(set(lengths)) != 1 or not body.depths:
        raise ValueError(
            f"{', '.join(by_stage)} must have one entry per stage, "
            f"got {', '.join(map(str, lengths))}"
        )
    for values in ({name: pick(v) for name, v in by_stage.items()} for pick in (min, max)):
        check_positive(**sizes, **values)
    if (blocks := sum(body.depths)) > MOST_BLOCKS:
        raise ValueError(f"depths must add up to at most {MOST_BLOCKS} blocks, got {blocks}")


def _chain_blocks(
    body: AnyBody,
    *,
    stem_width: int,
    strides: Sequence[int],
    mid_width: Callable[[int, int], int],
) -> Stages:
    """Blocks of each stage; the input of each is the output of the one before it.

    Args:
        body: The body, for its depths and output channels.
        stem_width: Output channels of the stem.
        strides: Stride of the first block, by stage.
        mid_width: Channels of the operator, given the stage (from 0) and the input channels.
    """
    in_widths = (stem_width, *body.out_widths)
    return tuple(
        tuple(
            Block(
                in_width=(in_width := out_width if position else in_widths[stage]),
                mid_width=mid_width(stage, in_width),
                out_width=out_width,
                stride=1 if position else strides[stage],
            )
            for position in range(depth)
        )
        for stage, (depth, out_width) in enumerate(zip(body.depths, body.out_widths, strict=True))
    )


def _list_settings(body: AnyBody) -> dict[str, Any]:
    """Fields that determine what is built, as plain values."""
    values = asdict(body)
    del values["input_size"], values["divisor"]
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def _join_rows(**rows: Sequence[int]) -> str:
    """Values by stage in one line, such as `blocks 3-4-6-3, out 256-512-1024-2048`."""
    return ", ".join(f"{name} {'-'.join(map(str, values))}" for name, values in rows.items())
