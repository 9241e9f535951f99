"""Values that describe where operators are built in: stems, stages, widths."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from sknet.spec.attentions import Position
from sknet.spec.choices import check_choice

StridePlace = Literal["operator", "reduce"]
"""Which convolution of a bottleneck has the stride: the spatial operator, or the first 1x1."""


def _check_sizes(sizes: tuple[int, ...]) -> None:
    if min(sizes) < 1:
        raise ValueError(f"every size of a body must be at least 1, got {min(sizes)}")


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

    def __post_init__(self) -> None:
        _check_sizes((self.width, self.stride))
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and positive, got {self.kernel}")


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
        check_choice("stride_place", self.stride_place, get_args(StridePlace))
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
