"""A Ray cluster of several nodes, one of which dies."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults


def test_trials_of_a_dead_node_move_to_others(tmp_path: Path) -> None:
    """They go on from their checkpoints, and the table is complete."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        driver = subprocess.Popen(
            [
                *(sys.executable, "-c", "from ablations.cli import main_run; main_run()"),
                *("dilation_group", "--recipe", "smoke", "--seeds", "0-1", "--retries", "3"),
                *("--tracking-uri", "off", "--json"),
            ],
            cwd=tmp_path,
            env={**os.environ, "RAY_ADDRESS": cluster.address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 600
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
