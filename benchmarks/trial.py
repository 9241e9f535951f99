"""A trial of `quick` by this code against the same trial by an earlier commit; one thread."""

import json
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from benchmarks.measurement import ROUNDS, Measurement

ROOT = Path(__file__).parents[1]

BEFORE = "22597b2"
"""The commit before the fast paths."""

EPOCHS = 3

TRIAL = """
import inspect, json, sys
from pathlib import Path
import torch
from ablations.config import read_config
from ablations.data.arrays import prepare_data
from ablations.reconcile.plans import Selection, draw_plan
from ablations.trial.run import run_trial

folder, experiments = map(Path, sys.argv[1:3])
if "workspace" in inspect.signature(draw_plan).parameters:
    from ablations.workspace import Workspace
    places = {"workspace": Workspace(runs_dir=folder, data_dir=folder)}
else:  # the code before
    places = {"data_dir": folder}
plan = draw_plan(
    read_config(experiments), "kernel_combination", Selection(recipe_name="quick"), **places
)
spec = next(t.spec for t in plan.trials if t.variant.name == "K3+K5, SK")
prepare_data(spec.dataset, data_dir=folder, cache_dir=folder / "cache")
trial = run_trial(
    spec,
    cache_dir=folder / "cache",
    checkpoint=folder / f"{torch.rand(1).item()}.pt",
    device=torch.device("cpu"),
)
records = [next(trial) for _ in range(int(sys.argv[3]))][1:]  # the first one warms up
print(json.dumps([[r.train_seconds, r.test_seconds] for r in records]))
"""


def measure() -> list[Measurement]:
    """Training and evaluation of an epoch, in processes that alternate."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = folder / "before"
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", BEFORE], check=True, capture_output=True
        ).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(before, filter="data")
        rounds = [(_run(ROOT, folder), _run(before, folder)) for _ in range(ROUNDS)]
    note = f"K3+K5 SK on tiny, commit {BEFORE} as the peer"
    return [
        Measurement(
            name=f"trial of quick, {what}",
            unit="s",
            values=tuple(ours[part] for ours, _ in rounds),
            peer="the code before",
            peer_values=tuple(theirs[part] for _, theirs in rounds),
            goal=1.5 if part == 2 else None,
            note=note,
        )
        for part, what in ((2, "an epoch"), (0, "its training"), (1, "its evaluation"))
    ]


def _run(tree: Path, folder: Path) -> tuple[float, float, float]:
    """Mean seconds of training, of evaluation, and of both, by the code in `tree`."""
    output = subprocess.run(
        [sys.executable, "-c", TRIAL, str(folder), str(tree / "experiments.yaml"), str(EPOCHS)],
        check=True,
        capture_output=True,
        text=True,
        cwd=tree,
        env={"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin"},
    ).stdout
    epochs = json.loads(output.splitlines()[-1])
    train, test = (sum(column) / len(epochs) for column in zip(*epochs, strict=True))
    return train, test, train + test
