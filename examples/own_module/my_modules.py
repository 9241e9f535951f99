"""A depthwise separable convolution, as an operator of one's own."""

from torch import Tensor, nn


class Separable(nn.Module):
    """A depthwise kernel, then a 1x1 convolution.

    Shapes:
        x: (N, channels, H, W) -> (N, channels, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, channels: int, *, stride: int, kernel: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
