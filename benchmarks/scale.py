"""Ten thousand trials: memory of the driver that schedules them, and reading them back."""

import tempfile
import time
from pathlib import Path

from ablations.ledger import Ledger
from benchmarks.measurement import Measurement
from benchmarks.runner import NOOP, run_noop

FEW, MANY = 1_000, 10_000
"""Numbers of trials."""

READINGS = 3
"""How often the ledger is read."""


def measure() -> list[Measurement]:
    """Measures everything in a temporary folder, once; takes a quarter of an hour on two cores."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        (folder / "experiments.yaml").write_text(NOOP)
        few, many = (run_noop(n, folder, "--tracking-uri", "off") for n in (FEW, MANY))
        readings = [time_reading(folder / "runs") for _ in range(READINGS)]
    return [
        Measurement(
            name=f"Peak memory of a driver of {MANY:,} no-op trials",
            unit="MB",
            values=(many.peak_mb,),
            peer=f"{FEW:,} trials",
            peer_values=(few.peak_mb,),
            goal=1 / 1.5,
            note="Ray on, MLflow off; the tables and figures of all trials included",
        ),
        Measurement(
            name=f"Run of {MANY:,} no-op trials, per trial",
            unit="s",
            values=(many.seconds / MANY,),
            peer=f"{FEW:,} trials",
            peer_values=(few.seconds / FEW,),
            goal=1 / 1.2,
            note="same runs, start-up included",
        ),
        Measurement(
            name=f"Reading and checking {MANY:,} finished trials",
            unit="s",
            values=tuple(readings),
            goal=5.0,
            note="one epoch each; without checksums of weights",
        ),
    ]


def time_reading(runs_dir: Path) -> float:
    """Seconds that it takes to read and check every record below a folder."""
    keys = [path.name for path in (runs_dir / "trials").iterdir()]
    started = time.perf_counter()
    findings = Ledger(runs_dir).examine(keys)
    seconds = time.perf_counter() - started
    if len(findings.records) != MANY:
        raise RuntimeError(f"there must be {MANY} records, got {len(findings.records)}")
    return seconds
