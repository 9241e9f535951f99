"""Attention that the papers compare SK with: CBAM and BAM; and the builder of any attention."""

import torch
from torch import Tensor, nn

from sknet.spec import (
    BlockAttention,
    BottleneckAttention,
    ConvolutionalAttention,
    SqueezeExcitation,
)


class SEUnit(nn.Module):
    """Rescales every channel by a weight that two fully connected layers compute.

    Squeeze: every channel is described by its average or maximum over the image. Excite: two
    layers, with ReLU between, turn the descriptor into a weight for each channel. Without squeeze
    the same layers look at every place for itself, and so weigh every element.

    Shapes:
        x: (N, C, H, W) -> (N, C, H, W)

    Args:
        channels: C.
        spec: Ratio, squeeze, excitation and what the layers have besides.

    Reference:
        Hu et al., Squeeze-and-Excitation Networks, TPAMI 2019, section 3.
    """

    def __init__(self, channels: int, spec: SqueezeExcitation) -> None:
        super().__init__()
        width = spec.hidden_width(channels)
        # 1x1 convolutions are the fully connected layers, for one place or for all of them.
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
        """Multiplications of the rescaling: one for each element of `output`."""
        return output.numel()

    def _describe(self, x: Tensor) -> Tensor:
        """The squeezed input: (N, C, 1, 1), or `x` itself where nothing is squeezed."""
        if self.squeeze == "avg":
            return x.mean(dim=(2, 3), keepdim=True)
        if self.squeeze == "max":
            return x.amax(dim=(2, 3), keepdim=True)
        return x


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
