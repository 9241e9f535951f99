"""Ray clusters: a node dies, or lacks the code or the working state of the driver."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import ROOT

from ablations.backends import Job, on_ray, run_job
from ablations.backends.job import EpochDone, Event
from ablations.plans import TrialSpec
from ablations.trial.checkpoints import read_checkpoint

pytestmark = pytest.mark.faults

MAIN = (sys.executable, "-c", "from ablations.cli import main_run; main_run()")


def test_trials_of_a_dead_node_move_to_others(tmp_path: Path) -> None:
    """They go on from their checkpoints, and the table is complete."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        driver = subprocess.Popen(
            [
                *(*MAIN, "dilation_group", "--recipe", "smoke", "--seeds", "0-1", "--retries", "3"),
                *("--tracking-uri", "off", "--json", "--address", cluster.address),
            ],
            cwd=tmp_path,
            env={**os.environ, "RAY_ADDRESS": "192.0.2.1:6379"},  # options win
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 1200
        while not list(tmp_path.glob("runs/trials/*/record.json")):
            assert driver.poll() is None, driver.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.2)

        cluster.remove_node(nodes[0], allow_graceful=False)
        out, err = driver.communicate(timeout=1200)
    finally:
        cluster.shutdown()

    assert driver.returncode == 0, err
    assert json.loads(out)[0]["count"]["finished"] == 10
    assert len(list(tmp_path.glob("runs/trials/*/record.json"))) == 10


HIDING = """
from pathlib import Path
from ablations.backends import on_ray
from ablations.cli import main_run

fit = on_ray._fit

def hide(*arguments, **named):
    for path in Path.cwd().glob("*.py"):
        path.rename(path.with_suffix(".hidden"))
    fit(*arguments, **named)

on_ray._fit = hide
main_run()
"""
"""A run whose modules are gone when trials start, as if nodes did not see their folder."""


def test_nodes_get_the_modules_of_the_user(tmp_path: Path) -> None:
    """With what they import from their folder."""
    from ray.cluster_utils import Cluster

    for path in (ROOT / "examples" / "own_module").glob("*.*"):
        shutil.copy(path, tmp_path)
    module = tmp_path / "my_modules.py"
    module.write_text(f"import beside\n{module.read_text()}")
    (tmp_path / "beside.py").write_text("")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        options = ("--set", "epochs=1", "--seeds", "0", "--only", "separable", "--retries", "0")
        place = ("--tracking-uri", "off", "--address", cluster.address, "--json")
        driver = subprocess.run(
            [sys.executable, "-c", HIDING, "separable", *options, *place],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    finally:
        cluster.shutdown()

    assert driver.returncode == 0, driver.stderr
    assert json.loads(driver.stdout)[0]["count"]["finished"] == 1
    assert list(tmp_path.glob("*.py")) == []


def test_a_node_without_the_working_state_of_the_driver_trains(
    spec: TrialSpec, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prepares the dataset itself and sends the weights, and keeps no checkpoint."""

    @contextmanager
    def mark_nothing(_: object) -> Iterator[str]:
        yield "absent"

    job = make_job(spec, backend="ray")
    checkpoint = job.workspace.checkpoint_dir / f"{spec.key}.pt"
    events: list[Event] = []
    monkeypatch.setattr(on_ray, "marking_storage", mark_nothing)

    run_job(job, events.append)

    assert [e.record.is_last for e in events if isinstance(e, EpochDone)] == [False, True]
    assert read_checkpoint(checkpoint).keys() == {"key", "network"}
