"""Frozen specs of operators, attentions, bodies and networks. Nothing here imports torch."""

from sknet.spec.attentions import (
    ATTENTIONS,
    BlockAttention,
    BottleneckAttention,
    ConvolutionalAttention,
    Excitation,
    Position,
    Squeeze,
    SqueezeExcitation,
)
from sknet.spec.bodies import (
    FAMILIES,
    AnyBody,
    Block,
    Body,
    MobileNetV2Body,
    ShuffleNetV2Body,
    Stem,
    StridePlace,
)
from sknet.spec.networks import NetworkSpec, attended_widths, find_impossible
from sknet.spec.operators import (
    Attention,
    Branch,
    Descriptor,
    Operator,
    SelectiveKernel,
    Setting,
    UserOperator,
)

__all__ = [
    "ATTENTIONS",
    "FAMILIES",
    "AnyBody",
    "Attention",
    "Block",
    "BlockAttention",
    "Body",
    "BottleneckAttention",
    "Branch",
    "ConvolutionalAttention",
    "Descriptor",
    "Excitation",
    "MobileNetV2Body",
    "NetworkSpec",
    "Operator",
    "Position",
    "SelectiveKernel",
    "Setting",
    "ShuffleNetV2Body",
    "Squeeze",
    "SqueezeExcitation",
    "Stem",
    "StridePlace",
    "UserOperator",
    "attended_widths",
    "find_impossible",
]
