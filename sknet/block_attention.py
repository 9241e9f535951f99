"""Attention that is added to blocks or between stages: SE, CBAM and BAM."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sknet.convolution import build_convolution
from sknet.spec import (
    BlockAttention,
    BottleneckAttention,
    ConvolutionalAttention,
    SqueezeExcitation,
)


class SEUnit(nn.Module):
    """Rescales every channel by a weight that two fully connected layers compute.

    Squeeze: every channel is described by its average or maximum over the image. Excite: two
    layers, with ReLU in between, turn the descriptor into one weight per channel. Without squeeze
    the same layers are applied at every location, and so weight every element.

    Shapes:
        x: (N, C, H, W) -> (N, C, H, W)

    Args:
        channels: C.
        spec: Ratio, squeeze, excitation, and whether the layers have biases and normalisation.

    Reference:
        Hu et al., Squeeze-and-Excitation Networks, TPAMI 2019, section 3.
    """

    def __init__(self, channels: int, spec: SqueezeExcitation) -> None:
        super().__init__()
        width = channels // spec.reduction
        # 1x1 convolutions are fully connected layers, applied at one location or at all of them.
        self.reduce = nn.Conv2d(channels, width, 1, bias=spec.bias)
        self.reduce_norm = nn.BatchNorm2d(width) if spec.batch_norm else nn.Identity()
        self.expand = nn.Conv2d(width, channels, 1, bias=spec.bias)
        self.expand_norm = nn.BatchNorm2d(channels) if spec.batch_norm else nn.Identity()
        self.squeeze = spec.squeeze
        self.excitation: nn.Module = {
            "sigmoid": nn.Sigmoid,
            "relu": nn.ReLU,
            "tanh": nn.Tanh,
        }[spec.excitation]()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.reduce_norm(self.reduce(self._describe(x))).relu()
        weights: Tensor = self.excitation(self.expand_norm(self.expand(hidden)))
        return x * weights

    def count_rescaling(self, output: Tensor) -> int:
        """Multiplications of the rescaling: one per element of `output`."""
        return output.numel()

    def _describe(self, x: Tensor) -> Tensor:
        """The squeezed input, (N, C, 1, 1), or `x` itself without squeeze."""
        if self.squeeze == "avg":
            return x.mean(dim=(2, 3), keepdim=True)
        if self.squeeze == "max":
            return x.amax(dim=(2, 3), keepdim=True)
        return x


class CBAMUnit(nn.Module):
    """Rescales channels, then locations.

    The weights of channels come from two fully connected layers, applied both to the average and
    to the maximum over the image; those of locations from a convolution of the average and the
    maximum over channels.

    Shapes:
        x: (N, C, H, W) -> (N, C, H, W)

    Args:
        channels: C.
        spec: Ratio of the layers, and kernel of the convolution.

    Reference:
        Woo et al., CBAM: Convolutional Block Attention Module, ECCV 2018, section 3. As in the
        authors' release, both layers have a bias and batch normalisation follows the convolution.
        Unlike there, that normalisation has PyTorch's momentum (0.1, not 0.01), and its weight
        starts at 1, not 0.
    """

    def __init__(self, channels: int, spec: ConvolutionalAttention) -> None:
        super().__init__()
        width = channels // spec.reduction
        self.channel_layers = nn.Sequential(
            nn.Linear(channels, width), nn.ReLU(inplace=True), nn.Linear(width, channels)
        )
        self.place_layers = build_convolution(2, 1, kernel=spec.kernel, activation="none")

    def forward(self, x: Tensor) -> Tensor:
        average = self.channel_layers(x.mean(dim=(2, 3)))  # (N, C)
        maximum = self.channel_layers(x.amax(dim=(2, 3)))
        x = x * (average + maximum).sigmoid()[..., None, None]
        summary = torch.cat((x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)), dim=1)
        weights: Tensor = self.place_layers(summary)  # (N, 1, H, W)
        return x * weights.sigmoid()

    def count_rescaling(self, output: Tensor) -> int:
        """Multiplications of both rescalings: two per element of `output`."""
        return 2 * output.numel()


class BAMUnit(nn.Module):
    """Rescales channels and locations at once, and adds the result to the input.

    The weights are the sigmoid of a product of two factors: the output of two fully connected
    layers applied to the channels' averages, and that of dilated convolutions of the map.

    Shapes:
        x: (N, C, H, W) -> (N, C, H, W)

    Args:
        channels: C.
        spec: Ratio of both halves, and dilation of the convolutions.

    Reference:
        Park et al., BAM: Bottleneck Attention Module, BMVC 2018, section 3. As in the authors'
        release, layers have a bias, and the halves are multiplied; the paper's text adds them.
        Unlike there, the fully connected layers are initialised as convolutions.
    """

    def __init__(self, channels: int, spec: BottleneckAttention) -> None:
        super().__init__()
        width = channels // spec.reduction
        self.channel_layers = nn.Sequential(
            *build_convolution(channels, width, bias=True), nn.Conv2d(width, channels, 1)
        )
        self.place_layers = nn.Sequential(
            *build_convolution(channels, width, bias=True),
            *build_convolution(width, width, kernel=3, dilation=spec.dilation, bias=True),
            *build_convolution(width, width, kernel=3, dilation=spec.dilation, bias=True),
            nn.Conv2d(width, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        channels = self.channel_layers(x.mean(dim=(2, 3), keepdim=True))  # (N, C, 1, 1)
        places = self.place_layers(x)  # (N, 1, H, W)
        weights: Tensor = (channels * places).sigmoid()
        return x + x * weights  # addcmul would drop the memory format

    def count_rescaling(self, output: Tensor) -> int:
        """Multiplications of the rescaling: one per element of `output`."""
        return output.numel()


UNITS: Mapping[type, Callable[[int, Any], nn.Module]] = {
    SqueezeExcitation: SEUnit,
    ConvolutionalAttention: CBAMUnit,
    BottleneckAttention: BAMUnit,
}
"""The unit of every kind of attention, by the class of its spec."""


def build_attention(spec: BlockAttention, channels: int) -> nn.Module:
    """Builds the unit that the spec describes.

    Raises:
        TypeError: If no unit is registered for the class of the spec.
    """
    if type(spec) not in UNITS:
        known = ", ".join(kind.__name__ for kind in UNITS)
        raise TypeError(f"attention must be one of {known}, got {type(spec).__name__}")
    return UNITS[type(spec)](channels, spec)
