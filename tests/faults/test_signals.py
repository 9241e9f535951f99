"""A run that is told to stop, stops: soon, with one message, and without an orphan."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults

MAIN = (sys.executable, "-c", "from ablations.cli import main_run; main_run()")


def start(folder: Path, *options: str) -> "subprocess.Popen[str]":
    """A run in a session of its own, so that its processes can be told from others."""
    return subprocess.Popen(
        [*MAIN, "dilation_group", "--tracking-uri", "off", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(folder: Path, pattern: str, *, seconds: float = 120) -> None:
    """Waits until a file exists."""
    deadline = time.monotonic() + seconds
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline, f"no {pattern} after {seconds} s"
        time.sleep(0.1)


def list_session(leader: int) -> list[str]:
    """Command lines of the processes of a session that are still alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(path.name)) == leader:
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (ProcessLookupError, FileNotFoundError):
            continue
    return [line for line in found if line]


@pytest.mark.parametrize("backend", ["local", "ray"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_a_run_cleanly(
    tmp_path: Path, backend: str, number: signal.Signals, code: int
) -> None:
    """What is finished is kept; nobody's stack trace is shown."""
    driver = start(tmp_path, "--backend", backend)
    wait_for(tmp_path, "runs/checkpoints/*.pt")

    driver.send_signal(number)
    out, err = driver.communicate(timeout=60)

    assert driver.returncode == code, err
    assert "The same command resumes." in err
    assert "Traceback" not in out + err
    assert "*** SIG" not in out + err
    assert err.count("interrupted:") == 1


def test_no_process_survives_a_driver_that_was_killed(tmp_path: Path) -> None:
    """Ray's daemons end by themselves within seconds."""
    driver = start(tmp_path, "--backend", "ray")
    wait_for(tmp_path, "runs/checkpoints/*.pt")

    driver.kill()
    driver.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while list_session(driver.pid) and time.monotonic() < deadline:
        time.sleep(0.5)

    assert list_session(driver.pid) == []
