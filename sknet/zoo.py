"""Bodies and networks by name: data, without torch; and `create_model`, which builds one."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from sknet.spec import Body, Branch, NetworkSpec, SelectiveKernel, Stem

if TYPE_CHECKING:
    from sknet.resnext import ResNeXt

BODIES: dict[str, Body] = {
    "imagenet50": Body(),
    "tiny": Body(
        stem=Stem(width=16, kernel=3, stride=2, pool=False),
        depths=(1, 1, 1),
        mid_widths=(16, 32, 64),
        out_widths=(32, 64, 128),
        input_size=32,
        divisor=8,
    ),
}
"""`imagenet50` is SKNet's Table 1; `tiny` is ours: an eighth of its widths, three stages, for
images of 32x32 pixels on a CPU."""

GROUPED_CONVOLUTION = SelectiveKernel(branches=(Branch(),), attention="sum")
"""The operator of ResNeXt: one 3x3 kernel of 32 groups."""

NETWORKS: dict[str, NetworkSpec] = {
    "resnext50_32x4d": NetworkSpec(operator=GROUPED_CONVOLUTION),
    "resnext_tiny": NetworkSpec(
        body=BODIES["tiny"], operator=GROUPED_CONVOLUTION.scaled_down(8), num_classes=10
    ),
    "sknet50": NetworkSpec(),
    "sknet_tiny": NetworkSpec(
        body=BODIES["tiny"], operator=SelectiveKernel().scaled_down(8), num_classes=10
    ),
}
"""Every network that `create_model` knows."""


def list_models() -> list[str]:
    """Names of all networks, sorted.

    >>> list_models()
    ['resnext50_32x4d', 'resnext_tiny', 'sknet50', 'sknet_tiny']
    """
    return sorted(NETWORKS)


def create_model(
    name: str, *, num_classes: int | None = None, in_channels: int | None = None
) -> ResNeXt:
    """Builds the network called `name`, initialised from PyTorch's global generator.

    Args:
        name: One of `list_models()`.
        num_classes: Outputs of the classifier; the published network's if None.
        in_channels: Channels of the images; the published network's if None.

    Raises:
        ValueError: If no network has that name, or a count is below 1.
    """
    from sknet.resnext import build_network  # torch loads only when a network is asked for

    if name not in NETWORKS:
        close = get_close_matches(name, NETWORKS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(list_models())}."
        raise ValueError(f"name must be a network of the zoo, got {name!r}; {hint}")
    spec = NETWORKS[name]
    return build_network(
        replace(
            spec,
            num_classes=spec.num_classes if num_classes is None else num_classes,
            in_channels=spec.in_channels if in_channels is None else in_channels,
        )
    )
