"""Builds and initialises the network that a spec describes."""

import math

import torch
from torch import nn

from sknet.lightweight import MobileNetV2, ShuffleNetV2
from sknet.resnext import ResNeXt
from sknet.spec import MobileNetV2Body, NetworkSpec, ShuffleNetV2Body, UserOperator

Network = ResNeXt | ShuffleNetV2 | MobileNetV2
"""What `build_network` builds; all have `spec`, `stem`, `stages` and `classifier`."""


def build_network(spec: NetworkSpec, *, generator: torch.Generator | None = None) -> Network:
    """Builds and initialises the network of `spec`, on the CPU, in fp32.

    Args:
        spec: The architecture.
        generator: Source of the initial weights; PyTorch's global one if None.
    """
    if isinstance(spec.operator, UserOperator) and generator is not None:
        # What is not drawn anew below, a user's own parameters, comes from the generator, too.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            network = _build(spec)
    else:
        network = _build(spec)
    initialise(network, generator=generator)
    return network


@torch.no_grad()
def initialise(network: nn.Module, *, generator: torch.Generator | None = None) -> None:
    """Draws all weights anew: He's normal for convolutions, uniform for linear layers.

    Convolutions' biases start at 0.

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
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)


def _build(spec: NetworkSpec) -> Network:
    if isinstance(spec.body, ShuffleNetV2Body):
        return ShuffleNetV2(spec, spec.body)
    if isinstance(spec.body, MobileNetV2Body):
        return MobileNetV2(spec, spec.body)
    return ResNeXt(spec, spec.body)
