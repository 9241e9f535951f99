"""Runs in processes of their own, which tests stop, kill and starve."""

import os
import signal
import subprocess
import sys
from pathlib import Path

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
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def list_session(leader: int) -> dict[int, str]:
    """Command lines of the processes of a session that are still alive, by process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(path.name)) == leader:
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(path.name)] = line
        except (ProcessLookupError, FileNotFoundError):
            continue
    return {process: line for process, line in found.items() if line}
