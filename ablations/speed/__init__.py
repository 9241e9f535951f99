"""Speed and memory of networks on this machine: benchmarks (without torch), and measuring them."""

from ablations.speed.benchmark import (
    Benchmark,
    Conditions,
    Quantity,
    Speed,
    compute_agreement,
    find_benchmark,
    find_image_size,
    find_speeds,
    identify_network,
    list_networks,
    read_benchmarks,
    write_benchmark,
)

__all__ = [
    "Benchmark",
    "Conditions",
    "Quantity",
    "Speed",
    "compute_agreement",
    "find_benchmark",
    "find_image_size",
    "find_speeds",
    "identify_network",
    "list_networks",
    "read_benchmarks",
    "write_benchmark",
]
