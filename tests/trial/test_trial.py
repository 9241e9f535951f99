"""A trial is a function of its spec, whether interrupted, repeated or run in another process."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, assert_same_weights

from ablations.data.arrays import load_data
from ablations.data.batches import ArraySplit
from ablations.data.catalogue import Dataset
from ablations.errors import MachineError
from ablations.plans import PROCEDURE, TrialSpec
from ablations.trial import run as run_module
from ablations.trial.checkpoints import read_final_weights, write_checkpoint
from ablations.trial.records import EpochRecord
from ablations.trial.run import make_generator, run_trial, shuffle_labels

CPU = torch.device("cpu")
GOLDEN = ROOT / "tests" / "golden" / "trial.json"


def run(spec: TrialSpec, cache_dir: Path, checkpoint: Path) -> list[EpochRecord]:
    """All records of a trial on the CPU."""
    return list(run_trial(spec, cache_dir=cache_dir, checkpoint=checkpoint, device=CPU))


def test_equal_specs_give_equal_records(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """To the bit, weights included, whatever the state of PyTorch's global generator."""
    first = run(spec, cache_dir, tmp_path / "a.pt")
    torch.manual_seed(123)
    second = run(spec, cache_dir, tmp_path / "b.pt")

    assert first == second
    assert_same_weights(tmp_path / "a.pt", tmp_path / "b.pt")


def test_different_seeds_give_different_records(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path
) -> None:
    """Otherwise several seeds would count as one."""
    losses = {
        run(replace(spec, seed=seed), cache_dir, tmp_path / f"{seed}.pt")[-1].train_loss
        for seed in range(3)
    }

    assert len(losses) == 3


def test_interrupted_equals_uninterrupted(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """Earlier records are repeated unchanged, then the trial continues, to the bit."""
    whole = run(spec, cache_dir, tmp_path / "whole.pt")
    trial = run_trial(spec, cache_dir=cache_dir, checkpoint=tmp_path / "cut.pt", device=CPU)
    [first] = islice(trial, 1)
    trial.close()

    resumed = run(spec, cache_dir, tmp_path / "cut.pt")

    assert resumed == whole
    assert resumed[0].train_seconds == first.train_seconds  # repeated, not measured again
    assert_same_weights(tmp_path / "whole.pt", tmp_path / "cut.pt")


def test_the_records_of_a_finished_trial_are_repeated(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path
) -> None:
    """A driver that was killed before it wrote the record loses nothing."""
    first = run(spec, cache_dir, tmp_path / "a.pt")
    written = (tmp_path / "a.pt").stat().st_mtime_ns

    assert run(spec, cache_dir, tmp_path / "a.pt") == first
    assert (tmp_path / "a.pt").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", {}, {"key": "KEY"}, {"key": "KEY", "network": {}}]
)
def test_an_unusable_checkpoint_is_ignored(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path, content: Any
) -> None:
    """The trial starts over, even if PyTorch can read the file."""
    checkpoint = tmp_path / "a.pt"
    if isinstance(content, bytes):
        checkpoint.write_bytes(content)
    else:
        write_checkpoint({**content, "key": spec.key} if content else content, checkpoint)

    assert run(spec, cache_dir, checkpoint) == run(spec, cache_dir, tmp_path / "b.pt")


@pytest.mark.parametrize("place", [0, 40, 0.5, -1])
def test_a_changed_byte_of_a_checkpoint_is_noticed(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path, place: float, caplog: pytest.LogCaptureFixture
) -> None:
    """PyTorch would load the weights as they are, and the trial would go on from them."""
    checkpoint = tmp_path / "a.pt"
    trial = run_trial(spec, cache_dir=cache_dir, checkpoint=checkpoint, device=CPU)
    next(trial)
    trial.close()
    content = bytearray(checkpoint.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 1
    checkpoint.write_bytes(content)

    resumed = run(spec, cache_dir, checkpoint)

    assert "its checksum differs" in caplog.text
    assert resumed == run(spec, cache_dir, tmp_path / "b.pt")


def test_a_checkpoint_of_another_trial_is_ignored(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path
) -> None:
    """A file may have been copied under the wrong name."""
    run(replace(spec, seed=9), cache_dir, tmp_path / "a.pt")

    assert run(spec, cache_dir, tmp_path / "a.pt") == run(spec, cache_dir, tmp_path / "b.pt")


def test_a_trial_leaves_the_number_of_threads_alone(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains in one thread; suspended, closed early, failed or ended, it has restored them."""
    seen: list[int] = []
    original = run_module.train_epoch

    def observe(*arguments: Any, **named: Any) -> Any:
        seen.append(torch.get_num_threads())
        return original(*arguments, **named)

    monkeypatch.setattr(run_module, "train_epoch", observe)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        trial = run_trial(spec, cache_dir=cache_dir, checkpoint=tmp_path / "a.pt", device=CPU)
        next(trial)
        assert torch.get_num_threads() == 3
        trial.close()
        assert torch.get_num_threads() == 3
        run(spec, cache_dir, tmp_path / "a.pt")
        with pytest.raises(MachineError):
            run(spec, tmp_path / "absent", tmp_path / "b.pt")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)

    assert seen == [1, 1]


def test_networks_learn(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """Images are labelled by the position of a bright square."""
    longer = spec.recipe.model_copy(update={"epochs": 12, "flip": False})

    records = run(replace(spec, recipe=longer), cache_dir, tmp_path / "a.pt")

    assert records[-1].top1_error < 20 < records[0].top1_error
    assert records[-1].train_loss < records[0].train_loss / 2


def test_a_diverged_trial_ends_early(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """NaN is a result, not an error."""
    wild = spec.recipe.model_copy(update={"learning_rate": 1e30, "epochs": 5})

    records = run(replace(spec, recipe=wild), cache_dir, tmp_path / "a.pt")

    assert len(records) < 5
    assert records[-1].diverged
    assert records[-1].is_last
    assert not any(record.diverged for record in records[:-1])


def test_outcomes_agree_with_the_error(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """Only the last epoch has an outcome per image."""
    *earlier, last = run(spec, cache_dir, tmp_path / "a.pt")

    assert all(record.correct is None for record in earlier)
    assert last.correct is not None
    assert last.top1_error == pytest.approx(100 - 100 * sum(last.correct) / len(last.correct))


def test_bf16_is_close_to_fp32(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """The recipe's precision has an effect, and a small one."""
    low = spec.recipe.model_copy(update={"precision": "bf16"})

    records = run(replace(spec, recipe=low), cache_dir, tmp_path / "a.pt")
    exact = run(spec, cache_dir, tmp_path / "b.pt")

    assert records[-1].train_loss != exact[-1].train_loss
    assert records[-1].train_loss == pytest.approx(exact[-1].train_loss, rel=0.2)


def test_results_are_the_golden_ones(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """If this fails, increase PROCEDURE by one and regenerate the golden file.

    To do so, remove the file and run this test. Norms are compared rather than bits: the last bits
    depend on the processor's instructions and on PyTorch's version, and training magnifies them.
    """
    records = run(spec, cache_dir, tmp_path / "a.pt")
    weights = read_final_weights(tmp_path / "a.pt")
    found = {
        "procedure": PROCEDURE,
        "losses": [record.train_loss for record in records],
        "norms": {name: tensor.double().norm().item() for name, tensor in weights.items()},
    }
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())

    assert found["procedure"] == golden["procedure"]
    assert found["losses"] == pytest.approx(golden["losses"], rel=2e-3)
    assert found["norms"] == pytest.approx(golden["norms"], rel=5e-3, abs=5e-4)


def test_generators_depend_on_seed_purpose_and_epoch() -> None:
    """Nothing else affects them."""
    keys = [(s, p, e) for s in (0, 1) for p in ("shuffle", "augmentation") for e in (0, 1)]

    draws = {torch.rand(4, generator=make_generator(*key)).sum().item() for key in keys}

    assert len(draws) == len(keys)
    assert torch.equal(
        torch.rand(4, generator=make_generator(*keys[0])),
        torch.rand(4, generator=make_generator(*keys[0])),
    )


@pytest.mark.gpu
def test_a_gpu_uses_the_same_weights_and_batches(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path
) -> None:
    """Results on a GPU are close to those on a CPU."""
    gpu = torch.device("cuda")
    on_gpu = list(run_trial(spec, cache_dir=cache_dir, checkpoint=tmp_path / "gpu.pt", device=gpu))
    on_cpu = run(spec, cache_dir, tmp_path / "cpu.pt")

    assert on_gpu[0].train_loss == pytest.approx(on_cpu[0].train_loss, rel=1e-2)


@pytest.mark.gpu
def test_each_trial_measures_its_own_peak_of_gpu_memory(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path
) -> None:
    """PyTorch measures the peak of a process, which trains many trials."""
    places = {"cache_dir": cache_dir, "device": torch.device("cuda")}
    peaks = []

    for number, batch_size in enumerate((8, 64, 8)):
        recipe = spec.recipe.model_copy(update={"batch_size": batch_size})
        trial = run_trial(
            replace(spec, recipe=recipe),
            checkpoint=tmp_path / f"{number}.pt",
            **places,  # type: ignore[arg-type]
        )
        peaks.append(list(trial)[-1].peak_memory_mb)

    assert peaks[2] < peaks[1]


def test_shuffled_labels_are_a_control(spec: TrialSpec, cache_dir: Path, dataset: Dataset) -> None:
    """Other labels for each seed, in training alone; trials without them keep their keys."""
    data = load_data(dataset, cache_dir=cache_dir, device=CPU)
    shuffled = replace(spec, recipe=spec.recipe.model_copy(update={"shuffled_labels": True}))

    first, again, other = (shuffle_labels(data, seed) for seed in (0, 0, 1))

    splits = [own.train for own in (data, first, again, other)]
    plain, one, same, different = (s.labels for s in splits if isinstance(s, ArraySplit))
    assert "shuffled_labels" not in spec.facts["recipe"]
    assert shuffled.key != spec.key
    assert torch.equal(one.sort().values, plain.sort().values)
    assert torch.equal(one, same)
    assert not torch.equal(one, plain)
    assert not torch.equal(one, different)
    assert first.test is data.test
