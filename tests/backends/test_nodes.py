"""What nodes of a cluster get from the driver, or make up for themselves."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from ablations.backends.nodes import (
    Storage,
    copy_code,
    find_storage,
    list_code,
    marking_storage,
    receive_weights,
)
from ablations.data.catalogue import Dataset
from ablations.errors import MachineError
from ablations.plans import TrialSpec
from ablations.trial.checkpoints import read_checkpoint, write_checkpoint
from ablations.workspace import Workspace
from sknet.spec import UserOperator


def test_nodes_get_our_packages_and_modules_of_the_user(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what those imported from beside them, but nothing that is installed."""
    (tmp_path / "their_module.py").write_text("import torch, their_package.layers\n")
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package" / "layers.py").write_text("")
    (tmp_path / "unrelated.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("their_module")
    operator = UserOperator(path="their_module:Layer")
    own = replace(spec, network=replace(spec.network, operator=operator))

    plain, theirs = list_code([spec]), list_code([spec, own])
    (tmp_path / "copy").mkdir()
    copy_code([own], tmp_path / "copy")

    assert plain == [ROOT / "ablations", ROOT / "sknet"]
    assert set(theirs) - set(plain) == {tmp_path / "their_module.py", tmp_path / "their_package"}
    copied = {
        path.relative_to(tmp_path / "copy").as_posix() for path in tmp_path.rglob("copy/**/*")
    }
    assert {"their_module.py", "their_package/layers.py", "sknet/kernels.py"} <= copied
    assert not any("__pycache__" in path for path in copied)


def test_installed_modules_are_not_copied(spec: TrialSpec) -> None:
    """Beside one of them is everything that is installed."""
    operator = UserOperator(path="torchvision.ops:Conv2dNormActivation")
    own = replace(spec, network=replace(spec.network, operator=operator))
    assert "torch" in sys.modules

    assert list_code([own]) == list_code([spec])


def test_a_node_tells_whether_it_shares_the_drivers_storage(tmp_path: Path) -> None:
    """By a file that exists as long as the driver runs."""
    mine, other = (Workspace(runs_dir=tmp_path / name) for name in ("a", "b"))

    with marking_storage(mine) as marker:
        shared = [find_storage(workspace, marker).is_shared for workspace in (mine, other)]

    assert shared == [True, False]
    assert list(mine.claims_dir.iterdir()) == []


def test_weights_travel_only_where_storage_is_not_shared(tmp_path: Path) -> None:
    """Without the momentum; the node keeps no checkpoint of a trial that has ended."""
    node, driver = (Workspace(runs_dir=tmp_path / name) for name in ("node", "driver"))
    checkpoint = node.checkpoint_dir / "abc.pt"
    write_checkpoint({"network": {"w": torch.ones(3)}, "optimiser": {"m": 1}}, checkpoint)

    assert Storage(workspace=node, is_shared=True).take_weights("abc") is None
    weights = Storage(workspace=node, is_shared=False).take_weights("abc")
    assert weights is not None
    receive_weights(weights, "abc", driver)

    assert not checkpoint.exists()
    content = read_checkpoint(driver.checkpoint_dir / "abc.pt")
    assert content.keys() == {"key", "network"}
    assert torch.equal(content["network"]["w"], torch.ones(3))


def test_a_node_without_shared_storage_prepares_the_dataset(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once; where the storage is shared, the driver has done it."""
    from ablations.backends import nodes

    prepared: list[str] = []
    monkeypatch.setattr(nodes, "prepare_data", lambda own, **_: prepared.append(own.name))
    own, shared = (
        Storage(workspace=Workspace(runs_dir=tmp_path), is_shared=is_shared)
        for is_shared in (False, True)
    )

    for storage in (shared, own, own):
        storage.prepare(dataset)

    assert prepared == ["synthetic"]
    with pytest.raises(MachineError, match="must be on a file system that all nodes share"):
        own.prepare(replace(dataset, name="my_module:load", checksum="0" * 64))
