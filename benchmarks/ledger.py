"""The ledger and the planning of thousands of trials; the part of `runner` that takes minutes."""

import tempfile
from pathlib import Path

from benchmarks.measurement import Measurement
from benchmarks.runner import measure_ledger


def measure() -> list[Measurement]:
    """Commands on finished and on planned trials, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        return measure_ledger(Path(folder))
