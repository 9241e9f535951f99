"""What a node of a Ray cluster may lack of the driver's machine: its code, storage and datasets."""

import shutil
import sys
import sysconfig
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from ablations.data.arrays import prepare_data
from ablations.data.catalogue import Dataset
from ablations.errors import MachineError
from ablations.files import write_atomically
from ablations.plans import TrialSpec
from ablations.trial.checkpoints import pack_checkpoint, read_checkpoint
from ablations.workspace import Workspace
from sknet.spec import UserOperator

OURS = ("ablations", "sknet")
"""The packages of this project."""

_INSTALLED = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))


def list_code(specs: Iterable[TrialSpec]) -> list[Path]:
    """Packages and modules to copy to the nodes: this project's, and the user's own.

    A module of the user's own comes with the modules beside it that have been imported. One that is
    installed is left out: nodes must have what is installed, such as PyTorch.
    """
    operators = [spec.network.operator for spec in specs]
    named = {own.path.split(":")[0].split(".")[0] for own in operators if type(own) is UserOperator}
    folders = {path.parent for path in map(_locate, named) if path is not None}
    found = {_locate(name) for name in sys.modules if "." not in name}
    own = {path for path in found if path and path.parent in folders.difference(_INSTALLED)}
    ours = {path for path in map(_locate, OURS) if path is not None}
    return sorted(own | ours)


def copy_code(specs: Iterable[TrialSpec], folder: Path) -> None:
    """Copies what `list_code` lists into a folder, from which all of it can be imported."""
    ignore = shutil.ignore_patterns("__pycache__", ".git")
    for path in list_code(specs):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=ignore)
        else:
            shutil.copy(path, folder)


def _locate(name: str) -> Path | None:
    """File of an imported module, or folder of a package; None if it has neither."""
    module = sys.modules.get(name)
    places = [*getattr(module, "__path__", ())] or [getattr(module, "__file__", None)]
    return Path(places[0]) if places[0] else None


@contextmanager
def marking_storage(workspace: Workspace) -> Iterator[str]:
    """Leaves a file in the driver's working state, by which nodes know whether they share it.

    Yields:
        Name of the file.
    """
    marker = workspace.claims_dir / f".driver-{uuid.uuid4().hex}"
    write_atomically(marker, b"")
    try:
        yield marker.name
    finally:
        marker.unlink(missing_ok=True)


@dataclass(kw_only=True)
class Storage:
    """The working state as a node sees it, under the same path as the driver."""

    workspace: Workspace
    """Where it is."""

    is_shared: bool
    """Whether it is that of the driver; else it is the node's own."""

    prepared: set[str] = field(default_factory=set)
    """Identities of the datasets that this process has found prepared, or has prepared."""

    def prepare(self, dataset: Dataset) -> None:
        """Prepares a dataset on a node of its own storage, once per node.

        Raises:
            MachineError: If the node does not have the dataset's files.
        """
        if self.is_shared or dataset.identity in self.prepared:
            return
        places = self.workspace
        if dataset.is_own and not (places.cache_dir / dataset.cache_name).is_dir():
            raise MachineError(
                f"{places.cache_dir} must be on a file system that all nodes share to train on "
                f"{dataset.name}, got a node without it. Pass a shared --runs-dir."
            )
        places.cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(places.cache_dir / f"{dataset.cache_name}.lock"):
            prepare_data(dataset, data_dir=places.data_dir, cache_dir=places.cache_dir)
        self.prepared.add(dataset.identity)

    def take_weights(self, key: str) -> bytes | None:
        """The weights of a trial that has ended, for the driver; None if it can read them itself.

        The node's checkpoint is removed.
        """
        if self.is_shared:
            return None
        checkpoint = self.workspace.checkpoint_dir / f"{key}.pt"
        content = read_checkpoint(checkpoint)
        checkpoint.unlink()
        return pack_checkpoint({"key": key, "network": content["network"]})


def find_storage(workspace: Workspace, marker: str) -> Storage:
    """The working state as this process sees it."""
    return Storage(workspace=workspace, is_shared=(workspace.claims_dir / marker).is_file())


def receive_weights(weights: bytes, key: str, workspace: Workspace) -> None:
    """Writes weights that a node sent to where the ledger expects them.

    Raises:
        OSError: If they cannot be written.
    """
    write_atomically(workspace.checkpoint_dir / f"{key}.pt", weights, is_durable=False)
