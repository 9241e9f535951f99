"""The runner: overhead per trial, and trials on several cores, measured as whole processes."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ablations.plans import TrialSpec
from ablations.trial.records import Environment, EpochRecord, TrialRecord
from benchmarks.measurement import ROUNDS, Measurement, time_alternately

ROOT = Path(__file__).parents[1]
SLOW_ROUNDS = 3
"""Rounds of what takes minutes."""

FINISHED, PLANNED = 400, 2000
"""Seeds of each of the five variants: of the finished experiment, and of the one not yet run."""

EXPERIMENTS = """
recipes:
  quick: {dataset: multiscale_digits, body: tiny, epochs: 8, batch_size: 64, learning_rate: 0.2,
          schedule: cosine, seeds: [SEEDS]}
experiments:
  kernels:
    question: Which kernels?
    expect: The larger.
    base: {branches: [K3, K5]}
    columns: [kernels, attention]
    baseline: K5
    variants:
      K5: {branches: [K3, K5]}
      K3: {branches: [K3, K3]}
      K7: {branches: [K3, K7]}
      sum: {attention: sum}
      three: {branches: [K3, K5, K7]}
"""

NOOP = """
bodies:
  smallest:
    stem: {width: 8, kernel: 3, stride: 2, pool: false}
    depths: [1]
    mid_widths: [8]
    out_widths: [8]
    input_size: 32
    divisor: 8
recipes:
  quick:
    dataset: blank
    body: smallest
    epochs: 1
    batch_size: 8
    learning_rate: 0.1
    schedule: cosine
    seeds: [0]
experiments:
  noop:
    question: What does the runner take?
    expect: Little.
    base: {branches: [K3, K5]}
    columns: [kernels, attention]
    baseline: sum
    variants:
      sum: {attention: sum}
      SK: {attention: softmax}
"""
"""Two variants; the number of seeds is chosen with `--seeds`."""


@dataclass(frozen=True)
class Usage:
    """What a process took."""

    seconds: float
    """Wall time."""

    peak_mb: float
    """Largest resident memory in 1e6 bytes."""


def measure() -> list[Measurement]:
    """Measures everything in temporary folders; takes half an hour on two cores."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        return [
            *measure_overhead(folder / "overhead"),
            measure_cores(folder / "cores"),
        ]


def measure_ledger(folder: Path) -> list[Measurement]:
    """Commands on 2,000 finished trials, and the plan of 10,000 that have not run."""
    finished, planned = folder / "finished", folder / "planned"
    for place, seeds in ((finished, FINISHED), (planned, PLANNED)):
        place.mkdir(parents=True)
        text = EXPERIMENTS.replace("SEEDS", ", ".join(map(str, range(seeds))))
        (place / "experiments.yaml").write_text(text)
    write = "from benchmarks.runner import write_finished; write_finished()"
    run_process([sys.executable, "-c", write], finished)
    run_ablations("run", "kernels", folder=finished)  # trains nothing, but writes and uploads
    usages = repeat(
        {
            "rerun": partial(run_ablations, "run", "kernels", folder=finished),
            "plan": partial(run_ablations, "plan", "kernels", folder=finished),
            "status": partial(run_ablations, "status", folder=finished),
            "plan of 10,000": partial(run_ablations, "plan", "kernels", folder=planned),
        }
    )
    seconds = {name: tuple(usage.seconds for usage in own) for name, own in usages.items()}
    note = "5 variants x 400 seeds, 8 epochs, 2,000 test images"
    return [
        Measurement(
            name="`run-ablation` of 2,000 finished trials",
            unit="s",
            values=seconds["rerun"],
            goal=2.0,
            note=f"{note}; MLflow on",
        ),
        Measurement(
            name="`plan` of 2,000 finished trials", unit="s", values=seconds["plan"], goal=1.5
        ),
        Measurement(
            name="`status` of 2,000 finished trials", unit="s", values=seconds["status"], goal=1.0
        ),
        Measurement(
            name="`status` of 2,000 finished trials, peak memory",
            unit="MB",
            values=tuple(usage.peak_mb for usage in usages["status"]),
            goal=200.0,
        ),
        Measurement(
            name="`plan` of 10,000 trials not yet run",
            unit="s",
            values=seconds["plan of 10,000"],
            goal=1.5,
            note="5 variants x 2,000 seeds; complexity and throughput cached",
        ),
    ]


def measure_overhead(folder: Path) -> list[Measurement]:
    """Seconds per trial that computes next to nothing, without what a run of two trials takes."""
    folder.mkdir(parents=True)
    (folder / "experiments.yaml").write_text(NOOP)
    numbers = {"start": 2, "hundred": 100, "thousand": 1000}
    tasks = {name: partial(run_noop, number, folder) for name, number in numbers.items()}
    few = repeat({name: tasks[name] for name in ("start", "hundred")})
    many = repeat(tasks, rounds=SLOW_ROUNDS, warm_up=0)
    hundred = per_trial(few, "hundred", 100)
    return [
        Measurement(
            name="Overhead per no-op trial, 100 trials",
            unit="s",
            values=hundred,
            goal=0.10,
            note="Ray and MLflow on; without the start-up, which 2 trials take too",
        ),
        Measurement(
            name="Overhead per no-op trial, 1,000 trials",
            unit="s",
            values=per_trial(many, "thousand", 1000),
            peer="100 trials",
            peer_values=per_trial(many, "hundred", 100),
            goal=1 / 1.2,
            note="same settings; at most 1.2 times as long per trial",
        ),
        Measurement(
            name="Start-up and end of a run",
            unit="s",
            values=tuple(usage.seconds for usage in few["start"]),
            note="2 no-op trials: imports, Ray, the new MLflow store, figures",
        ),
    ]


def measure_cores(folder: Path) -> Measurement:
    """15 trials of `quick` on two cores, against one at a time."""
    folder.mkdir(parents=True)
    command = ["run", "dilation_group", "--config", str(ROOT / "experiments.yaml")]
    command += ["--set", "epochs=1", "--backend"]
    usages = repeat(
        {
            "ray": lambda: run_fresh(*command, "ray", folder=folder),
            "local": lambda: run_fresh(*command, "local", folder=folder),
        },
        rounds=SLOW_ROUNDS,
    )
    return Measurement(
        name="15 trials of `quick` with one epoch, Ray on two cores",
        unit="s",
        values=tuple(usage.seconds for usage in usages["ray"]),
        peer="one at a time",
        peer_values=tuple(usage.seconds for usage in usages["local"]),
        goal=1.25,
        note=f"{len(os.sched_getaffinity(0))} cores; whole processes, start of Ray included",
    )


def per_trial(usages: Mapping[str, Sequence[Usage]], name: str, count: int) -> tuple[float, ...]:
    """Seconds per trial in each round, without what two trials take."""
    pairs = zip(usages[name], usages["start"], strict=True)
    return tuple((own.seconds - start.seconds) / (count - 2) for own, start in pairs)


def repeat(
    tasks: Mapping[str, Callable[[], Usage]], *, rounds: int = ROUNDS, warm_up: int = 1
) -> dict[str, list[Usage]]:
    """Runs all tasks in alternation; what each took in every round."""
    usages: dict[str, list[Usage]] = {name: [] for name in tasks}

    def keep(name: str) -> None:
        usages[name].append(tasks[name]())

    time_alternately({name: partial(keep, name) for name in tasks}, rounds=rounds, warm_up=warm_up)
    return {name: own[warm_up:] for name, own in usages.items()}


def run_noop(trials: int, folder: Path, *options: str) -> Usage:
    """Runs new trials on blank images, half of them for each of two variants."""
    clear_runs(folder)
    command = [sys.executable, "-m", "benchmarks.noop", "noop", "--seeds", f"0-{trials // 2 - 1}"]
    return run_process([*command, *options], folder)


def run_fresh(*arguments: str, folder: Path) -> Usage:
    """Runs a command of `ablations` as if no trial had run."""
    clear_runs(folder)
    return run_ablations(*arguments, folder=folder)


def clear_runs(folder: Path) -> None:
    """Removes everything below `runs/` except the prepared datasets and the caches."""
    for path in (folder / "runs").glob("*"):
        if path.is_dir() and path.name != "datasets":
            shutil.rmtree(path)
        elif path.name.startswith("mlflow.db"):
            path.unlink()


def run_ablations(*arguments: str, folder: Path) -> Usage:
    """Runs a command of `ablations`."""
    start = "from ablations.cli import main; main()"
    return run_process([sys.executable, "-c", start, *arguments], folder)


def run_process(command: Sequence[str], folder: Path) -> Usage:
    """Runs a process in a folder until it ends.

    Raises:
        RuntimeError: If it fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            text = output.read().decode(errors="replace")
            raise RuntimeError(f"{' '.join(command)} failed in {folder}:\n{text}")
    return Usage(seconds=seconds, peak_mb=usage.ru_maxrss * 1024 / 1e6)


def write_finished() -> None:
    """Writes valid records of all trials of the working directory's experiment; trains nothing.

    A process of its own calls this, since it loads torch: the peak memory of a child is at least
    that of its parent.
    """
    from ablations.config import read_config
    from ablations.ledger import Ledger
    from ablations.reconcile.plans import Selection, draw_plan
    from ablations.reconcile.survey import Settings
    from ablations.trial.checkpoints import write_checkpoint
    from sknet import build_network

    workspace = Settings().workspace
    config = read_config(Path("experiments.yaml"))
    plan = draw_plan(config, "kernels", Selection(), workspace=workspace)
    ledger = Ledger(workspace.runs_dir)
    weights = {v.name: build_network(v.network).state_dict() for v in plan.variants}
    workspace.checkpoint_dir.mkdir(parents=True)
    ledger.prepare()
    for trial in plan.trials:
        checkpoint = ledger.checkpoint_of(trial.spec.key)
        write_checkpoint({"network": weights[trial.variant.name]}, checkpoint)
        ledger.add(make_record(trial.spec))


def make_record(spec: TrialSpec) -> TrialRecord:
    """A record with random errors and outcomes."""
    generator = np.random.default_rng([spec.seed, int(spec.key, 16)])
    epochs = spec.recipe.epochs
    errors = 5 + 20 * 0.5 ** np.arange(epochs) + generator.random(epochs)
    outcomes = generator.random(spec.dataset.test_size) < 0.94
    records = tuple(
        EpochRecord(
            epoch=epoch,
            is_last=epoch == epochs - 1,
            diverged=False,
            learning_rate=0.1,
            train_loss=float(error) / 10,
            top1_error=float(error),
            top5_error=float(error) / 10,
            correct=outcomes.tobytes() if epoch == epochs - 1 else None,
            train_seconds=1.5,
            test_seconds=0.3,
            images_per_second=4000.0,
            peak_memory_mb=500.0,
        )
        for epoch, error in enumerate(errors)
    )
    return TrialRecord(
        key=spec.key,
        facts=dict(spec.facts),
        epochs=records,
        environment=Environment(
            device="CPU",
            python="3",
            torch="2",
            package="0",
            platform="Linux",
            commit="0" * 40,
            dirty=False,
        ),
        finished_at=1.7e9,
    )
