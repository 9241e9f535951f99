"""`ablations ui`: MLflow's user interface on the store of the runs."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ablations.cli.display import print_line, stderr
from ablations.cli.options import RunsDir, TrackingUri, find_uri
from ablations.errors import InputError

HOST = "127.0.0.1"
START_SECONDS = 60
"""Time that the server has to start before the browser is opened."""


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help=f"Port on {HOST}.")] = 5000,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the browser.")] = False,
    runs_dir: RunsDir = Path("runs"),
    tracking_uri: TrackingUri = None,
) -> None:
    """Open MLflow's user interface on the store of the runs."""
    from ablations.tracking import OFF, list_views  # late: help and completion do without it

    uri = find_uri(tracking_uri, runs_dir)
    if uri == OFF:
        raise InputError("--tracking-uri must name a store to show, got 'off'.")
    is_server = uri.startswith(("http:", "https:"))
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise InputError(f"{uri} must be a store with runs, got no such file. Run something first.")
    address = uri.rstrip("/") if is_server else f"http://{HOST}:{port}"
    for experiment, view, path in list_views(uri):
        print_line(f"{experiment}, {view}: {address}/{path}")
    if is_server:
        print_line(f"MLflow's user interface is at {address}")
        if open_browser:
            webbrowser.open(address)
        return
    stderr.print(f"MLflow's user interface will be at {address} (Ctrl-C stops it)")
    if open_browser:
        threading.Thread(target=_open_when_ready, args=(address, port), daemon=True).start()
    sys.exit(_serve(_make_command(uri, port)))


def _serve(command: Sequence[str]) -> int:
    """Runs the server, which starts further processes, and stops them all with this one.

    Returns:
        Its exit code.
    """
    server = subprocess.Popen(command, start_new_session=True)
    try:
        return server.wait()
    except KeyboardInterrupt:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        raise


def _make_command(uri: str, port: int) -> list[str]:
    """The command that starts MLflow's server, for this machine alone."""
    options = ["--backend-store-uri", uri, "--host", HOST, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "ui", *options]


def _open_when_ready(address: str, port: int) -> None:
    """Opens the browser as soon as the server accepts connections."""
    for _ in range(START_SECONDS):
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(1)
        else:
            webbrowser.open(address)
            return
