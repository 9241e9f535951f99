"""Speed and memory of networks on this machine: benchmarks (without torch), and measuring them."""

from ablations.speed.benchmark import (
    Benchmark,
    Conditions,
    Quantity,
    Speed,
    compute_agreement,
    describe_agreement,
    find_benchmark,
    find_image_size,
    identify_network,
    identify_variants,
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
    "describe_agreement",
    "find_benchmark",
    "find_image_size",
    "identify_network",
    "identify_variants",
    "list_networks",
    "read_benchmarks",
    "write_benchmark",
]
