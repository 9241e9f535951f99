"""Values that describe what is added to blocks, or between stages."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from sknet.spec.choices import check_choice

Squeeze = Literal["avg", "max", "none"]
"""How SE describes a channel: its average, its maximum, or every place of it for itself."""

Excitation = Literal["sigmoid", "relu", "tanh"]
"""What SE's weights go through last."""

Position = Literal["standard", "pre", "post", "identity", "inside"]
"""Where in a bottleneck an attention sits: on its last convolution, before its first, after the
addition, on the shortcut, or on the spatial operator."""


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
        check_choice("squeeze", self.squeeze, get_args(Squeeze))
        check_choice("excitation", self.excitation, get_args(Excitation))
        check_choice("position", self.position, get_args(Position))
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
