"""The ledger writes records atomically, reports damaged ones, and has one writer."""

import errno
import json
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ablations.errors import MachineError
from ablations.files import hash_file
from ablations.ledger import Failure, Ledger
from ablations.plans import TrialSpec
from ablations.trial.records import Environment, TrialRecord
from ablations.trial.run import run_trial

ENVIRONMENT = Environment(
    device="CPU",
    python="3.11",
    torch="2",
    package="0",
    platform="Linux",
    commit="0123456789abcdef",
    dirty=False,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    return Ledger(tmp_path / "runs")


@pytest.fixture
def record(ledger: Ledger, spec: TrialSpec, cache_dir: Path) -> TrialRecord:
    """A trained trial, with its checkpoint where the ledger expects it."""
    checkpoint = ledger.checkpoint_of(spec.key)
    device = torch.device("cpu")
    epochs = run_trial(spec, cache_dir=cache_dir, checkpoint=checkpoint, device=device)
    return TrialRecord(
        key=spec.key,
        facts=dict(spec.facts),
        epochs=tuple(epochs),
        environment=ENVIRONMENT,
        finished_at=1.7e9,
    )


def set_value(*keys: Any) -> Callable[[Path], None]:
    """An edit of a JSON file: the keys of a value, followed by its new value."""
    *path, last, value = keys

    def change(file: Path) -> None:
        content = json.loads(file.read_text())
        inner = content
        for key in path:
            inner = inner[key]
        inner[last] = value
        file.write_text(json.dumps(content))

    return change


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text())


def keep(ledger: Ledger, record: TrialRecord) -> Path:
    """Adds the record and returns its folder."""
    ledger.prepare()
    ledger.add(record)
    return ledger.runs_dir / "trials" / record.key


def test_a_record_is_read_back_unchanged(ledger: Ledger, record: TrialRecord) -> None:
    """Every epoch and every image, with times and memory."""
    keep(ledger, record)

    [found] = ledger.examine([record.key]).records.values()

    assert found == record
    assert found.epochs[-1].peak_memory_mb == record.epochs[-1].peak_memory_mb
    assert found.state == "finished"


def test_weights_are_kept_and_the_checkpoint_goes(ledger: Ledger, record: TrialRecord) -> None:
    """The record holds all that is needed."""
    folder = keep(ledger, record)

    weights = torch.load(folder / "weights.pt", weights_only=True)
    assert sum(tensor.numel() for tensor in weights.values()) > 1000
    assert not ledger.checkpoint_of(record.key).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_value("epochs", 0, "epoch", -1), "epochs.0: the epochs must be numbered"),
        (set_value("epochs", 0, "is_last", True), "epochs.0: the epochs must be numbered"),
        (set_value("epochs", 1, "is_last", False), "epochs.1: the epochs must be numbered"),
        (set_value("epochs", 0, "diverged", True), "epochs.0: the epochs must be numbered"),
        (lambda path: set_value("epochs", read_json(path)["epochs"][1:])(path), "2 epochs, got 1"),
        (set_value("epochs", 0, "top1_error", 100.5), "errors must be within 0 and 100"),
        (set_value("epochs", 1, "top5_error", -1.0), "errors must be within 0 and 100"),
        (set_value("epochs", 1, "top1_error", 0.0), "last top1_error must be .*of the outcomes"),
        (set_value("epochs", 1, "train_loss", -1.0), "train_loss must be finite, got -1.0"),
        (set_value("epochs", 1, "train_loss", 1e999), "epochs.1.train_loss|train_loss must be fin"),
        (set_value("epochs", 1, "train_seconds", -1.0), "train_seconds must be a positive number"),
        (set_value("epochs", 0, "train_loss", 0.5), "must have the checksum in record.sha256"),
        (set_value("finished_at", 1.6e9), "must have the checksum in record.sha256"),
    ],
)
def test_edited_values_are_found(
    ledger: Ledger, record: TrialRecord, change: Callable[[Path], None], message: str
) -> None:
    """Not only what is no record: a flipped digit would change a table in silence."""
    folder = keep(ledger, record)
    change(folder / "record.json")

    findings = ledger.examine([record.key])

    assert findings.records == {}
    assert re.search(message, findings.corrupt[record.key])


def test_a_record_without_a_checksum_of_its_own_is_valid(
    ledger: Ledger, record: TrialRecord
) -> None:
    """Earlier versions wrote none."""
    folder = keep(ledger, record)
    (folder / "record.sha256").unlink()

    assert ledger.examine([record.key]).records == {record.key: record}


def test_the_checksum_is_that_of_sha256sum(ledger: Ledger, record: TrialRecord) -> None:
    """`sha256sum --check record.sha256` in the folder confirms it without this program."""
    folder = keep(ledger, record)

    digest, name = (folder / "record.sha256").read_text().split()

    assert (digest, name) == (hash_file(folder / "record.json"), "record.json")


@pytest.mark.parametrize("name", ["record.json", "record.sha256", "correct.npy", "weights.pt"])
def test_a_pipe_in_place_of_a_file_does_not_block(
    ledger: Ledger, record: TrialRecord, name: str
) -> None:
    """Reading it would wait for a writer for ever."""
    folder = keep(ledger, record)
    (folder / name).unlink()
    os.mkfifo(folder / name)

    findings = ledger.examine([record.key], deep=True)

    assert list(findings.corrupt) == [record.key]


def test_a_copied_record_is_valid_in_any_directory(
    ledger: Ledger, record: TrialRecord, tmp_path: Path
) -> None:
    """Results of several machines are merged by copying folders."""
    folder = keep(ledger, record)
    other = Ledger(tmp_path / "elsewhere")
    shutil.copytree(folder, tmp_path / "elsewhere" / "trials" / record.key)

    assert other.examine([record.key]).records == {record.key: record}


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("record.json", lambda path: path.write_text(path.read_text()[:-50]), "Invalid JSON: EOF"),
        ("record.json", lambda path: path.write_text("[" * 10_000), "recursion limit exceeded"),
        ("record.json", lambda path: path.unlink(), "No such file or directory"),
        ("record.json", lambda path: path.write_text("[]"), "record.json: Input should be"),
        ("weights.pt", lambda path: path.write_bytes(b"x"), "bytes, got 1"),
        ("weights.pt", lambda path: path.unlink(), "No such file or directory"),
        ("correct.npy", lambda path: path.write_bytes(b"x"), "correct.npy must have the checksum"),
        ("correct.npy", lambda path: path.unlink(), "No such file or directory"),
        ("record.json", set_value("format", 2), "format: Input should be 1"),
        ("record.json", set_value("sha256", {}), "sha256.correct.npy: Field required"),
        ("record.json", set_value("sha256", []), "sha256: Input should be an object"),
        ("record.json", set_value("sha256", {"correct.npy": "0"}), "sha256.weights.pt: Field"),
        ("record.json", set_value("facts", []), "facts: Input should be an object"),
        ("record.json", set_value("facts", "seed", float("nan")), "not JSON compliant"),
        ("record.json", set_value("epochs", []), "epochs: Tuple should have at least 1 item"),
        ("record.json", set_value("test_images", 4000), "correct.npy must hold 4000 bits, got 40"),
        ("record.json", set_value("test_images", -1), "test_images: Input should be greater"),
        (
            "record.json",
            lambda path: path.write_text(path.read_text().replace('"seed": 0', '"seed": 1')),
            "the facts must have the key",
        ),
        ("record.json", set_value("epochs", 0, "top1_error", "x"), "top1_error"),
        ("record.json", set_value("epochs", 1, "train_seconds", None), "train_seconds"),
        ("record.json", set_value("epochs", 1, "is_last", None), "is_last"),
        ("record.json", set_value("environment", "device", ["CPU"]), "device"),
    ],
)
def test_a_damaged_record_is_reported_and_kept(
    ledger: Ledger, record: TrialRecord, name: str, damage: object, message: str
) -> None:
    """Whatever is missing, changed or of the wrong type; the record is moved aside, not deleted."""
    folder = keep(ledger, record)
    damage(folder / name)  # type: ignore[operator]

    findings = ledger.examine([record.key])
    kept = ledger.set_aside(record.key)

    assert message in findings.corrupt[record.key]
    assert findings.records == {}
    assert kept is not None
    assert kept.is_dir()
    assert ledger.examine([record.key]).corrupt == {}


def test_a_record_that_was_trained_again_is_not_set_aside(
    ledger: Ledger, record: TrialRecord
) -> None:
    """Another run that saw the same damage may have been faster."""
    checkpoint = ledger.checkpoint_of(record.key)
    state = checkpoint.read_bytes()
    folder = keep(ledger, record)
    other = Ledger(ledger.runs_dir)
    (folder / "record.json").write_text("{")
    seen = other.examine([record.key]).corrupt
    ledger.set_aside(record.key)
    checkpoint.write_bytes(state)
    ledger.add(record)

    kept = other.set_aside(record.key)

    assert list(seen) == [record.key]
    assert kept is None
    assert other.examine([record.key]).records == {record.key: record}


def test_damaged_weights_are_found_by_a_deep_look(ledger: Ledger, record: TrialRecord) -> None:
    """A listing checks their size alone, since hashing the weights of all trials is slow."""
    weights = keep(ledger, record) / "weights.pt"
    weights.write_bytes(bytes([weights.read_bytes()[0] ^ 1]) + weights.read_bytes()[1:])

    assert ledger.examine([record.key]).corrupt == {}
    assert (
        "weights.pt must have the checksum"
        in (ledger.examine([record.key], deep=True).corrupt[record.key])
    )


def test_a_record_without_the_size_of_its_weights_is_valid(
    ledger: Ledger, record: TrialRecord
) -> None:
    """Earlier versions did not write it."""
    file = keep(ledger, record) / "record.json"
    content = json.loads(file.read_text())
    del content["weights_bytes"]
    file.write_text(json.dumps(content))
    (file.parent / "record.sha256").unlink()

    assert ledger.examine([record.key], deep=True).records == {record.key: record}


def test_records_of_outcomes_that_do_not_fill_bytes_are_read_back(
    ledger: Ledger, record: TrialRecord
) -> None:
    """Eight outcomes are packed into a byte."""
    last = replace(record.last, correct=b"\x01\x00\x01", top1_error=100 / 3)

    keep(ledger, replace(record, epochs=(*record.epochs[:-1], last)))

    [found] = ledger.examine([record.key]).records.values()
    assert found.last.correct == b"\x01\x00\x01"


@pytest.mark.parametrize("content", ["{", "[]", '{"key": 1}', "[" * 10_000, '{"reason": []}'])
def test_an_unreadable_failure_is_reported(ledger: Ledger, content: str) -> None:
    """The trial is tried again in any case."""
    ledger.prepare()
    (ledger.runs_dir / "failures" / "abc.json").write_text(content)

    assert ledger.examine(["abc"]).failures["abc"].reason.startswith("its report is unreadable: ")


def test_a_failure_is_kept_until_the_trial_ends(ledger: Ledger, record: TrialRecord) -> None:
    """A failed trial is tried again; once it has ended, it is no longer failed."""
    failure = Failure(key=record.key, reason="ValueError: no", details="Traceback …")
    ledger.prepare()
    ledger.add_failure(failure)
    assert ledger.examine([record.key]).failures == {record.key: failure}

    keep(ledger, record)

    assert ledger.examine([record.key]).failures == {}


def test_a_killed_process_leaves_no_partial_record(ledger: Ledger, record: TrialRecord) -> None:
    """The next process cleans up."""
    staging = ledger.runs_dir / "trials" / ".staging-abc"
    staging.mkdir(parents=True)
    (staging / "weights.pt").write_bytes(b"half")

    keep(ledger, record)

    assert not staging.exists()


@pytest.mark.parametrize("name", ["checkpoints/.abc.pt-x1", "datasets/.cifar10-97ae-y2"])
def test_old_temporary_files_of_killed_processes_are_removed(ledger: Ledger, name: str) -> None:
    """New ones may belong to a run on the same folder that is writing them."""
    paths = [ledger.runs_dir / f"{name}{number}" for number in (0, 1)]
    for path in paths:
        path.mkdir(parents=True)
    os.utime(paths[0], (1.7e9, 1.7e9))

    ledger.prepare()

    assert [path.exists() for path in paths] == [False, True]


def test_a_full_disk_is_reported(
    ledger: Ledger, record: TrialRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial is not lost: its checkpoint is kept, and no partial record exists."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.save", refuse)

    with pytest.raises(MachineError, match=r"No space left on device\. Free some space"):
        keep(ledger, record)

    assert ledger.checkpoint_of(record.key).is_file()
    assert ledger.examine([record.key]).records == {}


def test_a_disk_that_is_too_small_for_the_weights_is_reported(
    ledger: Ledger, record: TrialRecord
) -> None:
    """They are the largest file of a record; PyTorch raises no OSError if it cannot write them."""
    ledger.prepare()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))

    try:
        with pytest.raises(MachineError, match=r"cannot write the record.*File too large"):
            ledger.add(record)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)

    assert ledger.checkpoint_of(record.key).is_file()


def test_a_full_disk_is_reported_when_a_trial_failed(
    ledger: Ledger, record: TrialRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is the most likely reason of the failure, so it must not hide it."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    failure = Failure(key=record.key, reason="ValueError: no", details="Traceback …")
    ledger.prepare()

    with pytest.raises(MachineError, match=r"failed \(ValueError: no\).*No space left on device"):
        ledger.add_failure(failure)
    with pytest.raises(MachineError, match="No space left on device"):
        ledger.add_look("attention", "quick", [0, 1, 2])


def test_two_processes_may_add_the_same_trial(ledger: Ledger, record: TrialRecord) -> None:
    """Both records are valid; the first one stays, and nothing is left behind."""
    folder = keep(ledger, record)
    before = (folder / "record.json").read_bytes()

    keep(ledger, replace(record, finished_at=record.finished_at + 1))

    assert (folder / "record.json").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == [record.key]


def test_a_file_in_place_of_the_folder_is_reported(tmp_path: Path) -> None:
    """With the option that chooses another folder."""
    (tmp_path / "file").write_text("")

    with pytest.raises(MachineError, match="must be a writable folder"):
        Ledger(tmp_path / "file").prepare()


def test_a_read_only_disk_is_reported(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like a folder without permission, but by another error."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)

    with pytest.raises(MachineError, match=r"got Read-only file system\. Pass another --runs-dir"):
        ledger.prepare()


def test_nothing_is_known_of_an_unknown_trial(ledger: Ledger) -> None:
    """Asking creates nothing."""
    findings = ledger.examine(["0" * 12])

    assert (findings.records, findings.failures, findings.corrupt) == ({}, {}, {})
    assert not ledger.runs_dir.joinpath("trials").exists()


def test_a_diverged_trial_is_complete(ledger: Ledger, record: TrialRecord) -> None:
    """It would diverge again."""
    last = replace(record.epochs[-1], diverged=True, train_loss=float("nan"))

    keep(ledger, replace(record, epochs=(*record.epochs[:-1], last)))

    [found] = ledger.examine([record.key]).records.values()
    assert found.state == "diverged"


def test_looks_are_kept_in_order(ledger: Ledger) -> None:
    """Each set of seeds once, separately for each table."""
    ledger.prepare()
    for seeds in ((0, 1, 2), (4, 3), (2, 1, 0)):
        ledger.add_look("e", "quick", seeds)

    assert Ledger(ledger.runs_dir).list_looks("e", "quick") == [[0, 1, 2], [3, 4]]
    assert ledger.list_looks("e", "quick epochs=1") == []


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"e/quick": 3}', '{"e/quick": [["x"]]}', "[" * 10_000, "null"]
)
def test_damaged_looks_are_reported(ledger: Ledger, content: str) -> None:
    """Without them an exploratory table would look like a planned one."""
    ledger.prepare()
    (ledger.runs_dir / "looks.json").write_text(content)

    with pytest.raises(MachineError, match=r"looks.json must hold the looks at tables as JSON"):
        ledger.list_looks("e", "quick")
