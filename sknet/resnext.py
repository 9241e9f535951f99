"""Bottleneck, stages and body: every ResNeXt and SKNet, for ImageNet and for small images."""

import math

import torch
from torch import Tensor, nn

from sknet.selective_kernel import SKConv
from sknet.spec import Body, NetworkSpec, SelectiveKernel, Stem


class Bottleneck(nn.Module):
    """1x1 convolution, the spatial operator, 1x1 convolution, and a shortcut around them.

    Shapes:
        x: (N, in_width, H, W) -> (N, out_width, ceil(H / stride), ceil(W / stride))

    Args:
        in_width: Channels of the input.
        mid_width: Channels of the spatial operator.
        out_width: Channels of the output.
        operator: The spatial operator, as built.
        stride: Stride of the operator, and of the shortcut's projection.

    Reference:
        Li et al., Selective Kernel Networks, CVPR 2019, Table 1.
    """

    def __init__(
        self,
        in_width: int,
        mid_width: int,
        out_width: int,
        *,
        operator: SelectiveKernel,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(in_width, mid_width, 1, bias=False),
            nn.BatchNorm2d(mid_width),
            nn.ReLU(inplace=True),
        )
        self.operator = SKConv(
            mid_width,
            operator.branches,
            attention=operator.attention,
            reduction=operator.reduction,
            min_width=operator.min_width,
            stride=stride,
        )
        self.expand = nn.Sequential(
            nn.Conv2d(mid_width, out_width, 1, bias=False),
            nn.BatchNorm2d(out_width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_width != out_width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_width, out_width, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_width),
            )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.expand(self.operator(self.reduce(x)))
        return torch.relu_(y + self.shortcut(x))


class ResNeXt(nn.Module):
    """A classifier of images: stem, stages of bottlenecks, global pooling, linear layer.

    Shapes:
        x: (N, in_channels, H, W) -> (N, num_classes)

    Args:
        spec: The architecture.

    Reference:
        Li et al., Selective Kernel Networks, CVPR 2019, Table 1.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.stem = _build_stem(spec.body.stem, spec.in_channels)
        self.stages = _build_stages(spec.body, spec.operator)
        self.classifier = nn.Linear(spec.body.out_widths[-1], spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.stages(self.stem(x))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


def build_network(spec: NetworkSpec, *, generator: torch.Generator | None = None) -> ResNeXt:
    """Builds and initialises the network of `spec`, on the CPU, in fp32.

    Args:
        spec: The architecture.
        generator: Source of the initial weights; PyTorch's global one if None.
    """
    network = ResNeXt(spec)
    initialise(network, generator=generator)
    return network


@torch.no_grad()
def initialise(network: nn.Module, *, generator: torch.Generator | None = None) -> None:
    """Draws all weights anew: He's normal for convolutions, uniform for linear layers.

    Reference:
        He et al., Delving Deep into Rectifiers, ICCV 2015; PyTorch's default for nn.Linear.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)


def _build_stem(stem: Stem, in_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(
            in_channels,
            stem.width,
            stem.kernel,
            stride=stem.stride,
            padding=stem.kernel // 2,
            bias=False,
        ),
        nn.BatchNorm2d(stem.width),
        nn.ReLU(inplace=True),
    ]
    if stem.pool:
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return nn.Sequential(*layers)


def _build_stages(body: Body, operator: SelectiveKernel) -> nn.Sequential:
    """One Sequential of bottlenecks a stage; the first of stages 2, 3, ... has stride 2."""
    stages: list[nn.Module] = []
    in_width = body.stem.width
    shapes = zip(body.depths, body.mid_widths, body.out_widths, strict=True)
    for index, (depth, mid_width, out_width) in enumerate(shapes):
        blocks: list[nn.Module] = []
        for position in range(depth):
            stride = 2 if index > 0 and position == 0 else 1
            blocks.append(
                Bottleneck(in_width, mid_width, out_width, operator=operator, stride=stride)
            )
            in_width = out_width
        stages.append(nn.Sequential(*blocks))
    return nn.Sequential(*stages)
