"""Specs of the attention that is added to blocks, or between stages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from sknet.spec.operators import check_choice, check_kernel, check_positive

Squeeze = Literal["avg", "max", "none"]
"""How SE describes a channel: by its average, by its maximum, or at every location separately."""

Excitation = Literal["sigmoid", "relu", "tanh"]
"""The last activation of SE, which gives the weights."""

Position = Literal["standard", "pre", "post", "identity", "inside"]
"""Where attention sits in a bottleneck: after its last convolution, before its first, after the
addition, on the shortcut, or after the spatial operator."""


@dataclass(frozen=True, kw_only=True)
class SqueezeExcitation:
    """SE, channel attention: squeeze, two fully connected layers, excite. The default has r=16.

    Reference:
        Hu et al., Squeeze-and-Excitation Networks, TPAMI 2019, sections 3 and 6.

    Examples:
        >>> SqueezeExcitation(excitation="softmax")
        Traceback (most recent call last):
        ValueError: excitation must be one of sigmoid, relu, tanh, got 'softmax'
    """

    kind: ClassVar[str] = "SE"

    reduction: int = 16
    """Ratio r: the output of the first layer has channels // reduction channels."""

    squeeze: Squeeze = "avg"
    """How a channel is described; `none` turns both layers into 1x1 convolutions of the map."""

    excitation: Excitation = "sigmoid"
    """The last activation, which gives the weights."""

    position: Position = "standard"
    """Where it sits in the bottleneck."""

    stages: tuple[int, ...] | None = None
    """Stages that have it; all if None. The first stage after the stem is 1; the papers, which
    count the stem, call it stage 2."""

    bias: bool = False
    """Whether both layers have a bias; section 6 of the paper reports lower errors without."""

    batch_norm: bool = False
    """Whether batch normalisation follows each of the two layers."""

    def __post_init__(self) -> None:
        check_positive(reduction=self.reduction)
        check_choice("squeeze", self.squeeze, get_args(Squeeze))
        check_choice("excitation", self.excitation, get_args(Excitation))
        check_choice("position", self.position, get_args(Position))
        if self.stages is not None and sorted(set(self.stages)) != list(self.stages):
            raise ValueError(f"stages must be ascending and distinct, got {self.stages}")
        if self.stages == ():
            raise ValueError("stages must name at least 1 stage, or be None for all, got none")


@dataclass(frozen=True, kw_only=True)
class ConvolutionalAttention:
    """CBAM: channel attention, then spatial attention, on the output of every bottleneck.

    Reference:
        Woo et al., CBAM: Convolutional Block Attention Module, ECCV 2018.

    Examples:
        >>> from sknet import Body, NetworkSpec
        >>> NetworkSpec(body=Body(), attention=ConvolutionalAttention(kernel=7)).attention.kind
        'CBAM'
    """

    kind: ClassVar[str] = "CBAM"
    position: ClassVar[Position] = "standard"
    stages: ClassVar[None] = None

    reduction: int = 16
    """Ratio r of the two layers of channel attention."""

    kernel: int = 7
    """Side of the convolution of spatial attention."""

    def __post_init__(self) -> None:
        check_positive(reduction=self.reduction)
        check_kernel(self.kernel)


@dataclass(frozen=True, kw_only=True)
class BottleneckAttention:
    """BAM: channel and spatial attention in parallel, after every stage but the last.

    Reference:
        Park et al., BAM: Bottleneck Attention Module, BMVC 2018.

    Examples:
        >>> BottleneckAttention(reduction=0)
        Traceback (most recent call last):
        ValueError: reduction must be at least 1, got 0
    """

    kind: ClassVar[str] = "BAM"
    position: ClassVar[Literal["between"]] = "between"
    stages: ClassVar[None] = None

    reduction: int = 16
    """Ratio r of both halves."""

    dilation: int = 4
    """Dilation of the two 3x3 convolutions of the spatial half."""

    def __post_init__(self) -> None:
        check_positive(reduction=self.reduction, dilation=self.dilation)
        check_kernel(3, dilation=self.dilation)


BlockAttention = SqueezeExcitation | ConvolutionalAttention | BottleneckAttention
"""Attention that may be added to the blocks of a body, or between its stages."""

ATTENTIONS: Mapping[str, type[BlockAttention]] = {
    attention.kind: attention for attention in get_args(BlockAttention)
}
"""Attentions by their kind, the name that the papers and YAML use."""
