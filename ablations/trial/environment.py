"""Where a trial ran: versions, device, commit."""

import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.trial.records import Environment

if TYPE_CHECKING:
    import torch


def describe_environment(device: "torch.device", *, commit: "Commit") -> Environment:
    """The environment of this process; the commit is found once, by the driver."""
    import torch  # late: a plan asks for the processor's name alone

    try:
        package = version("sknet-ablations")
    except PackageNotFoundError:  # run from a checkout that is not installed
        package = "not installed"
    return Environment(
        device=name_device(device),
        python=platform.python_version(),
        torch=torch.__version__,
        package=package,
        platform=f"{platform.system()} {platform.machine()}",
        commit=commit.sha,
        dirty=commit.dirty,
    )


@dataclass(frozen=True)
class Commit:
    """State of the code's checkout."""

    sha: str | None
    """The commit; None outside a checkout."""

    dirty: bool | None
    """Whether tracked files differ from it; None outside a checkout."""


def find_commit() -> Commit:
    """The commit that this package's code is checked out from."""
    here = Path(__file__).parent
    sha = _ask_git(here, "rev-parse", "HEAD")
    if sha is None or _ask_git(here, "ls-files", Path(__file__).name) in (None, ""):
        return Commit(sha=None, dirty=None)  # installed somewhere inside a foreign checkout
    changes = _ask_git(here, "status", "--porcelain", "--untracked-files=no")
    return Commit(sha=sha, dirty=None if changes is None else bool(changes))


def _ask_git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def name_device(device: "torch.device") -> str:
    """Model of a processor or a GPU."""
    if device.type != "cuda":
        return name_processor()
    import torch

    return torch.cuda.get_device_name(device)


def name_processor() -> str:
    """Model of this machine's processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"CPU {line.split(':', 1)[1].strip()}"
    return f"CPU {platform.processor() or platform.machine()}"
