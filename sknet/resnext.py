"""Bottlenecks and the body made of them: every ResNet, ResNeXt, SENet and SKNet."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from sknet.block_attention import build_attention
from sknet.convolution import build_convolution
from sknet.operators import build_operator
from sknet.spec import (
    Block,
    BlockAttention,
    Body,
    NetworkSpec,
    Operator,
    Position,
    StridePlace,
    attended_widths,
)


class Bottleneck(nn.Module):
    """1x1 convolution, spatial operator, 1x1 convolution, and a shortcut around them.

    Shapes:
        x: (N, in_width, H, W) -> (N, out_width, ceil(H / stride), ceil(W / stride))

    Args:
        block: Widths and stride.
        operator: Spec of the spatial operator.
        attention: Attention to add at its `position`; none if None.
        stride_place: Which convolution has the stride, besides the projection of the shortcut.

    Reference:
        Li et al., Selective Kernel Networks, CVPR 2019, Table 1.
    """

    def __init__(
        self,
        block: Block,
        *,
        operator: Operator,
        attention: BlockAttention | None = None,
        stride_place: StridePlace = "operator",
    ) -> None:
        super().__init__()
        stride = block.stride if stride_place == "reduce" else 1
        self.reduce = build_convolution(block.in_width, block.mid_width, stride=stride)
        self.operator = build_operator(operator, block.mid_width, stride=block.stride // stride)
        self.expand = build_convolution(block.mid_width, block.out_width, activation="none")
        self.shortcut: nn.Module = nn.Identity()
        if block.stride != 1 or block.in_width != block.out_width:
            self.shortcut = build_convolution(
                block.in_width, block.out_width, stride=block.stride, activation="none"
            )
        self.attention: nn.Module | None = None
        if attention is not None and attention.position != "between":
            self.attention = build_attention(attention, block.attended_width(attention.position))
            self.position = attention.position

    def forward(self, x: Tensor) -> Tensor:
        y = self.reduce(self._attend("pre", x))
        y = self._attend("inside", self.operator(y))
        y = self._attend("standard", self.expand(y))
        y = torch.relu_(y + self._attend("identity", self.shortcut(x)))
        return self._attend("post", y)

    def _attend(self, position: Position, x: Tensor) -> Tensor:
        """Applies the attention if it sits at `position`."""
        if self.attention is None or self.position != position:
            return x
        attended: Tensor = self.attention(x)
        return attended


class ResNeXt(nn.Module):
    """Image classifier: stem, stages of bottlenecks, global pooling, linear layer.

    Shapes:
        x: (N, in_channels, H, W) -> (N, num_classes)

    Args:
        spec: The architecture.
        body: The spec's body.

    Reference:
        Li et al., Selective Kernel Networks, CVPR 2019, Table 1.
    """

    def __init__(self, spec: NetworkSpec, body: Body) -> None:
        super().__init__()
        self.spec = spec
        stem = body.stem
        self.stem = build_convolution(
            spec.in_channels, stem.width, kernel=stem.kernel, stride=stem.stride
        )
        if stem.pool:
            self.stem.append(nn.MaxPool2d(3, stride=2, padding=1))
        self.stages = build_stages(spec, partial(Bottleneck, stride_place=body.stride_place))
        self.classifier = nn.Linear(body.out_widths[-1], spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.stages(self.stem(x))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


def build_stages(spec: NetworkSpec, build_block: Callable[..., nn.Module]) -> nn.Sequential:
    """Builds one Sequential of blocks per stage; attention between stages ends a stage.

    Args:
        spec: The architecture.
        build_block: Called as `build_block(block, operator=..., attention=...)` for every block.
    """
    attention = spec.attention
    stages: list[nn.Module] = []
    for blocks, widths in zip(
        spec.body.stages(), attended_widths(spec.body, attention), strict=True
    ):
        layers = [
            build_block(block, operator=spec.operator, attention=attention if widths else None)
            for block in blocks
        ]
        if attention is not None and attention.position == "between":
            layers += [build_attention(attention, width) for width in widths]
        stages.append(nn.Sequential(*layers))
    return nn.Sequential(*stages)
