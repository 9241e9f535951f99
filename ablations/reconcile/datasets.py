"""The dataset of a recipe: this machine's copy, the user's own, or the one that results know."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.data import DATASETS, Dataset, identify_dataset
from ablations.errors import InputError
from ablations.study import StudiedDataset, is_exported, read_export
from ablations.workspace import Workspace

if TYPE_CHECKING:
    from ablations.data.user_datasets import OwnDataset


def choose_dataset(
    name: str,
    *,
    folder: Path,
    workspace: Workspace,
    known: StudiedDataset | None,
    place: str,
) -> Dataset:
    """The dataset with the facts of this machine's copy, or of the one that is known.

    Args:
        name: Its name, or the function of the user's own that loads it.
        folder: Folder of experiments.yaml, where the user's modules are searched too.
        workspace: Where the images and the prepared arrays are.
        known: A dataset of earlier results; it takes the place of this machine's copy if it has the
            same name and no pinned checksum.
        place: Where the dataset is named, for messages.

    Raises:
        InputError: If a dataset of the user's own cannot be loaded, with all faults.
    """
    same = known if known and known.name == name else None
    if name not in DATASETS:
        return same.as_own if same else _load_own(name, folder, workspace, place=place)
    dataset = DATASETS[name]
    if same is None or dataset.checksum is not None:
        return identify_dataset(dataset, workspace.data_dir)
    return replace(
        dataset,
        num_classes=same.num_classes,
        train_size=same.train_size,
        test_size=same.test_size,
        found=same.found,
    )


def recall_dataset(
    name: str, results: Path, *, folder: Path, workspace: Workspace
) -> StudiedDataset | None:
    """A dataset of the user's own as its results know it; None if this machine has loaded it.

    So results are counted and regenerated on a machine without the images.

    Args:
        name: Name of the dataset.
        results: Folder of the results; it need not exist.
        folder: Folder of experiments.yaml.
        workspace: Where the prepared arrays are.

    Raises:
        IncompleteError: If the results were edited or damaged.
    """
    if name in DATASETS or not is_exported(results):
        return None
    # Loads NumPy, which other plans do without.
    from ablations.data.user_datasets import recall_user_dataset

    if recall_user_dataset(_locate(name, folder, workspace)) is not None:
        return None
    return read_export(results, with_trials=False).definition.dataset


def _load_own(name: str, folder: Path, workspace: Workspace, *, place: str) -> Dataset:
    # Loads NumPy, which other plans do without.
    from ablations.data.user_datasets import identify_user_dataset

    try:
        return identify_user_dataset(_locate(name, folder, workspace))
    except ValueError as error:
        faults = [f"{place}: {fault}" for fault in str(error).splitlines()]
        raise InputError("\n".join(faults)) from error


def _locate(name: str, folder: Path, workspace: Workspace) -> "OwnDataset":
    from ablations.data.user_datasets import OwnDataset

    return OwnDataset(
        name=name, folder=folder, data_dir=workspace.data_dir, cache_dir=workspace.cache_dir
    )
