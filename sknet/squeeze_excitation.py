"""Squeeze-and-excitation, and the variants that its paper compares."""

from torch import Tensor, nn

from sknet.spec import SqueezeExcitation


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
