"""What a plan will cost on this machine: hours of its cores or GPUs, and disk."""

from ablations.estimate.price import Price, TrialPrice, check_hours, merge_prices, price_trials
from ablations.estimate.throughput import Device, Throughput, find_device, find_throughput
from ablations.estimate.timing import Timing, time_trials

__all__ = [
    "Device",
    "Price",
    "Throughput",
    "Timing",
    "TrialPrice",
    "check_hours",
    "find_device",
    "find_throughput",
    "merge_prices",
    "price_trials",
    "time_trials",
]
