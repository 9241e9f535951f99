"""The environment of a trial: versions, device, cores, commit."""

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
    """Describes the environment of this process; the driver looks up the commit once."""
    import torch  # slow to import, and a plan only needs `name_processor`

    try:
        package = version("sknet-ablations")
    except PackageNotFoundError:  # runs from a checkout
        package = "not installed"
    return Environment(
        device=name_device(device),
        python=platform.python_version(),
        torch=torch.__version__,
        package=package,
        platform=f"{platform.system()} {platform.machine()}",
        commit=commit.sha,
        dirty=commit.dirty,
        kernels=name_kernels(device),
    )


def name_kernels(device: "torch.device") -> str:
    """What computes besides PyTorch's default kernels, on which the last digits depend."""
    if device.type == "cuda":
        return "cuDNN autotuned"
    try:
        return f"numba {version('numba')}"
    except PackageNotFoundError:
        return "none"


@dataclass(frozen=True)
class Commit:
    """Commit of the running code."""

    sha: str | None
    """Hash of the commit; None outside a Git checkout."""

    dirty: bool | None
    """Whether tracked files were modified; None outside a Git checkout."""


def find_commit() -> Commit:
    """Finds the commit of this package's own code."""
    here = Path(__file__).parent
    sha = _ask_git(here, "rev-parse", "HEAD")
    if sha is None or _ask_git(here, "ls-files", Path(__file__).name) in (None, ""):
        return Commit(sha=None, dirty=None)  # installed inside another checkout
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
    """Model of the processor or GPU that PyTorch calls `device`."""
    if device.type != "cuda":
        return name_processor()
    import torch

    return torch.cuda.get_device_name(device)


def count_cores() -> int:
    """Number of cores that this process may use: its affinity and a container's quota limit it."""
    import joblib  # slow to import, and runs on a GPU do without

    return int(joblib.cpu_count())


def name_processor() -> str:
    """Model of this machine's processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"CPU {line.split(':', 1)[1].strip()}"
    return f"CPU {platform.processor() or platform.machine()}"
