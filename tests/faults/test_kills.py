"""Runs whose processes are killed at random points: nothing that was finished is lost."""

import logging
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from processes import list_session, start

from ablations.ledger import OUTCOMES, WEIGHTS, read_record

pytestmark = pytest.mark.faults

logger = logging.getLogger(__name__)

VICTIMS = {"driver": "main_run()", "worker": "ray::ResourceTrainable", "raylet": "raylet/raylet"}
"""What is killed, and what its command line contains."""

KILLS = ["driver"] * 6 + ["worker"] * 9 + ["raylet"] * 6
RUN = ("--recipe", "smoke", "--set", "epochs=2", "--only", "3x3, D=[12]*", "--retries", "9")


class Killer:
    """Kills processes of a run, which is started again whenever it has ended.

    Args:
        folder: Where it runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._random = random.Random(0)
        self._seeds = 2
        self._driver: subprocess.Popen[str] | None = None
        self.sessions: list[int] = []
        self.killed: Counter[str] = Counter()

    def __enter__(self) -> "Killer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._driver is not None:
            self._driver.kill()
            self.end()

    @property
    def options(self) -> tuple[str, ...]:
        """Options of the run; it is extended by two seeds whenever it is complete."""
        return (*RUN, "--seeds", f"0-{self._seeds - 1}")

    def kill(self, victim: str) -> None:
        """Kills a process of the run, started anew if needed, after a random number of epochs."""
        driver, wanted = self._find_driver(), self._random.randrange(4)
        before, seen, pause = self._list_states(), set(), self._random.random() * 2
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            if driver.poll() is not None:
                driver = self._find_driver()
            seen |= self._list_states() - before
            processes = list_session(driver.pid)
            found = [pid for pid, line in processes.items() if VICTIMS[victim] in line]
            if found and len(seen) >= wanted:
                time.sleep(pause)
                self._strike(self._random.choice(found), victim)
                return
            time.sleep(0.05)
        pytest.fail(f"there was no {victim} to kill in 10 minutes")

    def _strike(self, process: int, victim: str) -> None:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:  # it has just ended
            return self.kill(victim)
        self.killed[victim] += 1
        if victim != "worker":
            self.end()
        return None

    def _find_driver(self) -> "subprocess.Popen[str]":
        if self._driver is not None and self._driver.poll() is not None:
            self.end()
        if self._driver is None:
            self._driver = start(self._folder, *self.options)
            self.sessions.append(self._driver.pid)
        return self._driver

    def end(self) -> None:
        """Waits for the end of the run, but not for what it leaves behind."""
        if self._driver is not None:
            self._driver.wait(timeout=600)
            with self._driver:  # closes its pipes
                self._seeds += 2 * (self._driver.returncode == 0)
            self._driver = None

    def _list_states(self) -> set[tuple[str, int]]:
        """Every state of the checkpoints and records so far."""
        runs = self._folder / "runs"
        files = [*runs.glob("checkpoints/*.pt"), *runs.glob("trials/*/record.json")]
        states = set()
        for file in files:
            try:
                states.add((str(file), file.stat().st_mtime_ns))
            except FileNotFoundError:  # the trial has just ended
                continue
        return states


def finish(folder: Path, *options: str) -> None:
    """Runs until everything is trained."""
    run = start(folder, *options)
    out, err = run.communicate(timeout=3600)
    assert run.returncode == 0, out + err


def list_finished(folder: Path) -> dict[Path, int]:
    """When each record was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("runs/trials/*/record.json")}


def test_a_run_survives_kills_at_random_points(tmp_path: Path) -> None:
    """No finished trial is trained again, and records equal the undisturbed ones to the bit."""
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    disturbed.mkdir()
    undisturbed.mkdir()
    order = random.Random(1).sample(KILLS, len(KILLS))
    written: dict[Path, int] = {}

    with Killer(disturbed) as killer:
        for victim in order:
            killer.kill(victim)
            written = list_finished(disturbed) | written
            logger.info("%s killed; %d trials are finished", victim, len(written))
        killer.end()
    finish(disturbed, *killer.options)
    finish(undisturbed, *killer.options)
    deadline = time.monotonic() + 120  # agents of Ray notice late that their driver was killed
    while any(map(list_session, killer.sessions)) and time.monotonic() < deadline:
        time.sleep(1)

    assert killer.killed == Counter(KILLS)
    finished = list_finished(disturbed)
    assert {path: finished[path] for path in written} == written
    keys = {path.parent.name for path in finished}
    assert keys == {path.parent.name for path in list_finished(undisturbed)}
    for key in keys:
        first, second = (folder / "runs/trials" / key for folder in (disturbed, undisturbed))
        assert read_record(first).epochs == read_record(second).epochs
        for name in (OUTCOMES, WEIGHTS):
            assert (first / name).read_bytes() == (second / name).read_bytes()
    tables = [list(folder.glob("runs/tables/*/*/table.csv")) for folder in (disturbed, undisturbed)]
    assert tables[0][0].read_text() == tables[1][0].read_text()
    assert list(map(list_session, killer.sessions)) == [{}] * len(killer.sessions)
    logger.info("%d kills, %d trials, nothing lost", len(order), len(keys))
