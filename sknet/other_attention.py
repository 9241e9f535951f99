"""Attention that the papers compare SK with: CBAM and BAM; and the builder of any attention."""

import torch
from torch import Tensor, nn

from sknet.spec import (
    BlockAttention,
    BottleneckAttention,
    ConvolutionalAttention,
    SqueezeExcitation,
)
from sknet.squeeze_excitation import SEUnit


class CBAMUnit(nn.Module):
    """Rescales channels, then places.

    Channels are weighed by two fully connected layers that look at the average and at the maximum
    over the image, and are shared by both; places by a convolution that looks at the average
    and at the maximum over channels.

    Shapes:
        x: (N, C, H, W) -> (N, C, H, W)

    Args:
        channels: C.
        spec: Ratio of the layers, and the convolution's kernel.

    Reference:
        Woo et al., CBAM: Convolutional Block Attention Module, ECCV 2018, section 3. As in the
        authors' release, both layers have a bias and batch normalisation follows the convolution.
    """

    def __init__(self, channels: int, spec: ConvolutionalAttention) -> None:
        super().__init__()
        width = spec.hidden_width(channels)
        self.channel_layers = nn.Sequential(
            nn.Linear(channels, width), nn.ReLU(inplace=True), nn.Linear(width, channels)
        )
        self.place_layers = nn.Sequential(
            nn.Conv2d(2, 1, spec.kernel, padding=spec.kernel // 2, bias=False), nn.BatchNorm2d(1)
        )

    def forward(self, x: Tensor) -> Tensor:
        average = self.channel_layers(x.mean(dim=(2, 3)))  # (N, C)
        maximum = self.channel_layers(x.amax(dim=(2, 3)))
        x = x * (average + maximum).sigmoid()[..., None, None]
        summary = torch.cat((x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)), dim=1)
        weights: Tensor = self.place_layers(summary)  # (N, 1, H, W)
        return x * weights.sigmoid()

    def count_rescaling(self, output: Tensor) -> int:
        """Multiplications of both rescalings: by channel and by place, one each an element."""
        return 2 * output.numel()


class BAMUnit(nn.Module):
    """Adds to its input the input rescaled, by a weight for each channel and place at once.

    The weight is the sigmoid of a product: of two fully connected layers that look at the
    channels' averages, and of dilated convolutions that look at the map.

    Shapes:
        x: (N, C, H, W) -> (N, C, H, W)

    Args:
        channels: C.
        spec: Ratio of both halves, and the convolutions' dilation.

    Reference:
        Park et al., BAM: Bottleneck Attention Module, BMVC 2018, section 3. As in the authors'
        release, layers have a bias, and the halves are multiplied; the paper's text adds them.
    """

    def __init__(self, channels: int, spec: BottleneckAttention) -> None:
        super().__init__()
        width = spec.hidden_width(channels)
        self.channel_layers = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, channels, 1),
        )
        self.place_layers = nn.Sequential(
            *_build_convolution(channels, width, kernel=1, dilation=1),
            *_build_convolution(width, width, kernel=3, dilation=spec.dilation),
            *_build_convolution(width, width, kernel=3, dilation=spec.dilation),
            nn.Conv2d(width, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        channels = self.channel_layers(x.mean(dim=(2, 3), keepdim=True))  # (N, C, 1, 1)
        places = self.place_layers(x)  # (N, 1, H, W)
        weights: Tensor = (channels * places).sigmoid()
        return x + x * weights  # addcmul would drop the memory format

    def count_rescaling(self, output: Tensor) -> int:
        """Multiplications of the rescaling: one for each element of `output`."""
        return output.numel()


def build_attention(spec: BlockAttention, channels: int) -> SEUnit | CBAMUnit | BAMUnit:
    """Builds the attention that the spec describes, for `channels` channels."""
    if isinstance(spec, SqueezeExcitation):
        return SEUnit(channels, spec)
    if isinstance(spec, ConvolutionalAttention):
        return CBAMUnit(channels, spec)
    return BAMUnit(channels, spec)


def _build_convolution(
    channels: int, width: int, *, kernel: int, dilation: int
) -> tuple[nn.Module, nn.Module, nn.Module]:
    padding = dilation * (kernel // 2)
    return (
        nn.Conv2d(channels, width, kernel, padding=padding, dilation=dilation),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
