"""Builds and initialises the network that a spec describes."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from sknet.lightweight import MobileNetV2, ShuffleNetV2
from sknet.resnext import ResNeXt
from sknet.selective_kernel import ZeroBiasLinear
from sknet.spec import AnyBody, Body, MobileNetV2Body, NetworkSpec, ShuffleNetV2Body, UserOperator

Network = ResNeXt | ShuffleNetV2 | MobileNetV2
"""What `build_network` returns; all have `spec`, `stem`, `stages` and `classifier`."""

NETWORK_CLASSES: Mapping[type[AnyBody], Callable[[NetworkSpec, Any], Network]] = {
    Body: ResNeXt,
    ShuffleNetV2Body: ShuffleNetV2,
    MobileNetV2Body: MobileNetV2,
}
"""The network of every class of bodies."""


def build_network(spec: NetworkSpec, *, generator: torch.Generator | None = None) -> Network:
    """Builds and initialises the network of `spec`, on the default device, in float32.

    Args:
        spec: The architecture.
        generator: Source of the initial weights; PyTorch's global generator if None.

    Examples:
        >>> from sknet import Body, Stem
        >>> stem = Stem(width=8, kernel=3, stride=1, pool=False)
        >>> body = Body(stem=stem, depths=(1,), mid_widths=(32,), out_widths=(64,), input_size=32)
        >>> network = build_network(NetworkSpec(body=body, num_classes=10))
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    build = NETWORK_CLASSES[type(spec.body)]
    if isinstance(spec.operator, UserOperator) and generator is not None:
        # `initialise` does not know a user's own parameters: seed what their class draws.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            network = build(spec, spec.body)
    else:
        network = build(spec, spec.body)
    initialise(network, generator=generator)
    return network


@torch.no_grad()
def initialise(network: nn.Module, *, generator: torch.Generator | None = None) -> None:
    """Draws the weights of all convolutions (He, normal) and linear layers (uniform).

    Biases of convolutions and of `ZeroBiasLinear` are set to 0.

    Reference:
        He et al., Delving Deep into Rectifiers, ICCV 2015; PyTorch's default for nn.Linear.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if isinstance(module, ZeroBiasLinear) and module.bias is not None:
                nn.init.zeros_(module.bias)
            elif module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
