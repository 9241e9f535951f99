"""Choices that command-line options offer.

Apart from the modules that implement them, so that help and completion need not import those.
"""

from typing import Literal

BackendName = Literal["ray", "local"]
"""Ray Tune, which runs trials concurrently; or this process, which runs one after the other."""

DeviceKind = Literal["cpu", "cuda"]
"""PyTorch's type of a device: the processor, or a GPU of NVIDIA."""

Scale = Literal["paper", "trained"]
"""Which network of a variant: at the scale of the paper, or the one that a recipe trains."""

By = Literal["depth", "width", "cardinality"]
"""What a matching network has more of: bottlenecks, channels everywhere, or groups."""

Precision = Literal["fp32", "bf16"]
"""Numbers that networks compute with."""

Match = Literal["macs", "params"]
"""What is matched: multiply-adds, or parameters."""
