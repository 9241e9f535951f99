"""Every path below runs/, results/ and data/."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST_LABEL = 100
"""Most characters that the name of a folder shows of a recipe and the changes to it."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The three folders of a project, and the paths below them."""

    runs_dir: Path = Path("runs")
    """Working state: ledger, checkpoints, prepared datasets, MLflow's store."""

    results_dir: Path = Path("results")
    """Records and tables of whole experiments."""

    data_dir: Path = Path("data")
    """The user's datasets."""

    @property
    def cache_dir(self) -> Path:
        """Prepared arrays of the datasets."""
        return self.runs_dir / "datasets"

    @property
    def checkpoint_dir(self) -> Path:
        """State of unfinished trials."""
        return self.runs_dir / "checkpoints"

    @property
    def trials_dir(self) -> Path:
        """Records of trials that have ended."""
        return self.runs_dir / "trials"

    @property
    def claims_dir(self) -> Path:
        """Locks on the trials that are being trained."""
        return self.runs_dir / "claims"

    def resolve(self) -> "Workspace":
        """The same with absolute paths, for processes that run elsewhere."""
        folders = (self.runs_dir, self.results_dir, self.data_dir)
        runs_dir, results_dir, data_dir = (folder.resolve() for folder in folders)
        return Workspace(runs_dir=runs_dir, results_dir=results_dir, data_dir=data_dir)

    @property
    def complexity_file(self) -> Path:
        """Cache of complexities."""
        return self.runs_dir / "complexity.json"

    @property
    def throughput_file(self) -> Path:
        """Cache of measured throughputs."""
        return self.runs_dir / "throughput.json"

    @property
    def speed_dir(self) -> Path:
        """Benchmarks of networks."""
        return self.runs_dir / "speed"

    @property
    def evaluations_dir(self) -> Path:
        """Evaluations of published weights."""
        return self.runs_dir / "evaluations"

    def find_results(
        self, experiment: str, *, recipe_name: str, changes: Sequence[str] = ()
    ) -> Path:
        """The folder of a study; a narrowed or altered one leaves `results_dir` alone."""
        if not changes:
            return self.results_dir / experiment / recipe_name
        label = re.sub(r"[^\w.=,+-]+", "_", recipe_name, flags=re.ASCII)
        if len(label) > LONGEST_LABEL:
            label = (
                f"{label[:LONGEST_LABEL]}-{hashlib.sha256(recipe_name.encode()).hexdigest()[:12]}"
            )
        return self.runs_dir / "tables" / experiment / label

    def list_results(self, recipe_name: str) -> list[Path]:
        """The folders in `results_dir` of all experiments on a recipe."""
        return sorted(self.results_dir.glob(f"*/{recipe_name}"))
