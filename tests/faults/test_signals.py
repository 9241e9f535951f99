"""A run that is told to stop, stops: soon, with one message, and without an orphan."""

import signal
import subprocess
import time
from pathlib import Path

import pytest
from processes import list_session, start

pytestmark = pytest.mark.faults


def finish(driver: "subprocess.Popen[str]") -> tuple[str, str]:
    """Waits for the end of a run that was told to stop; one that does not stop is killed."""
    try:
        return driver.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.communicate()
        pytest.fail("the run did not stop")


def wait_for_training(driver: "subprocess.Popen[str]", folder: Path) -> None:
    """Waits until a run has trained an epoch."""
    deadline = time.monotonic() + 600
    while not list(folder.glob("runs/checkpoints/*.pt")):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("backend", ["local", "ray"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_a_run_cleanly(
    tmp_path: Path, backend: str, number: signal.Signals, code: int
) -> None:
    """What is finished is kept; nobody's stack trace is shown."""
    driver = start(tmp_path, "--backend", backend)
    wait_for_training(driver, tmp_path)

    driver.send_signal(number)
    out, err = finish(driver)

    assert driver.returncode == code, err
    assert "The same command resumes." in err
    assert "Traceback" not in out + err
    assert "*** SIG" not in out + err
    assert err.count("interrupted:") == 1


def test_no_process_survives_a_driver_that_was_killed(tmp_path: Path) -> None:
    """Ray's daemons end by themselves; its agents take a minute."""
    driver = start(tmp_path, "--backend", "ray")
    wait_for_training(driver, tmp_path)

    driver.kill()
    driver.communicate(timeout=120)
    deadline = time.monotonic() + 120
    while list_session(driver.pid) and time.monotonic() < deadline:
        time.sleep(0.5)

    assert list_session(driver.pid) == {}
