"""A trial is a function of its spec: twice, interrupted, in any process."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from conftest import ROOT, assert_same_weights

from ablations.plans import PROCEDURE, TrialSpec
from ablations.trial.records import EpochRecord
from ablations.trial.run import make_generator, read_final_weights, run_trial

CPU = torch.device("cpu")
GOLDEN = ROOT / "tests" / "golden" / "trial.json"


def run(spec: TrialSpec, cache_dir: Path, checkpoint: Path) -> list[EpochRecord]:
    """All records of a trial on the CPU."""
    return list(run_trial(spec, cache_dir=cache_dir, checkpoint=checkpoint, device=CPU))


def test_equal_specs_give_equal_records(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """To the bit, weights included; whatever was drawn from PyTorch's generator before."""
    first = run(spec, cache_dir, tmp_path / "a.pt")
    torch.manual_seed(123)
    second = run(spec, cache_dir, tmp_path / "b.pt")

    assert first == second
    assert_same_weights(tmp_path / "a.pt", tmp_path / "b.pt")


def test_other_seeds_give_other_records(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """Otherwise n would be 1."""
    losses = {
        run(replace(spec, seed=seed), cache_dir, tmp_path / f"{seed}.pt")[-1].train_loss
        for seed in range(3)
    }

    assert len(losses) == 3


def test_interrupted_equals_uninterrupted(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """Earlier records come again as they were, then the trial goes on, to the bit."""
    whole = run(spec, cache_dir, tmp_path / "whole.pt")
    trial = run_trial(spec, cache_dir=cache_dir, checkpoint=tmp_path / "cut.pt", device=CPU)
    [first] = islice(trial, 1)
    trial.close()

    resumed = run(spec, cache_dir, tmp_path / "cut.pt")

    assert resumed == whole
    assert resumed[0].train_seconds == first.train_seconds  # told again, not measured again
    assert_same_weights(tmp_path / "whole.pt", tmp_path / "cut.pt")


def test_a_finished_trial_is_told_again(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """A driver killed before it kept the record loses nothing."""
    first = run(spec, cache_dir, tmp_path / "a.pt")
    written = (tmp_path / "a.pt").stat().st_mtime_ns

    assert run(spec, cache_dir, tmp_path / "a.pt") == first
    assert (tmp_path / "a.pt").stat().st_mtime_ns == written


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_checkpoint_of_no_use_is_not_used(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path, content: bytes | None
) -> None:
    """Damaged, or another trial's: the trial starts anew."""
    checkpoint = tmp_path / "a.pt"
    if content is None:
        run(replace(spec, seed=9), cache_dir, checkpoint)
    else:
        checkpoint.write_bytes(content)

    assert run(spec, cache_dir, checkpoint) == run(spec, cache_dir, tmp_path / "b.pt")


def test_networks_learn(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """Squares whose place tells the label are told apart after some epochs."""
    longer = spec.recipe.model_copy(update={"epochs": 12, "flip": False})

    records = run(replace(spec, recipe=longer), cache_dir, tmp_path / "a.pt")

    assert records[-1].top1_error < 20 < records[0].top1_error
    assert records[-1].train_loss < records[0].train_loss / 2


def test_a_diverged_trial_ends_and_says_so(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path
) -> None:
    """NaN is a result, not a crash."""
    wild = spec.recipe.model_copy(update={"learning_rate": 1e30, "epochs": 5})

    records = run(replace(spec, recipe=wild), cache_dir, tmp_path / "a.pt")

    assert len(records) < 5
    assert records[-1].diverged
    assert records[-1].is_last
    assert not any(record.diverged for record in records[:-1])


def test_outcomes_are_those_of_the_error(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """The last epoch tells each image's outcome, the others do not."""
    *earlier, last = run(spec, cache_dir, tmp_path / "a.pt")

    assert all(record.correct is None for record in earlier)
    assert last.correct is not None
    assert last.top1_error == pytest.approx(100 - 100 * sum(last.correct) / len(last.correct))


def test_bf16_trains(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """The recipe's precision is obeyed: numbers are near those of fp32, but others."""
    low = spec.recipe.model_copy(update={"precision": "bf16"})

    records = run(replace(spec, recipe=low), cache_dir, tmp_path / "a.pt")
    exact = run(spec, cache_dir, tmp_path / "b.pt")

    assert records[-1].train_loss != exact[-1].train_loss
    assert records[-1].train_loss == pytest.approx(exact[-1].train_loss, rel=0.2)


def test_results_are_the_pinned_ones(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """If this fails, PROCEDURE must go up by one, and the golden file be made anew.

    It is written by running this test with the file removed. Norms are compared, not bits: the
    last bits depend on the processor's instructions and on PyTorch's version, and training
    magnifies them.
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
    """And on nothing else."""
    keys = [(s, p, e) for s in (0, 1) for p in ("shuffle", "augmentation") for e in (0, 1)]

    draws = {torch.rand(4, generator=make_generator(*key)).sum().item() for key in keys}

    assert len(draws) == len(keys)
    assert torch.equal(
        torch.rand(4, generator=make_generator(*keys[0])),
        torch.rand(4, generator=make_generator(*keys[0])),
    )


@pytest.mark.gpu
def test_a_gpu_sees_the_same_batches(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """Results on a GPU are near those on a CPU: same weights, same images."""
    gpu = torch.device("cuda")
    there = list(run_trial(spec, cache_dir=cache_dir, checkpoint=tmp_path / "gpu.pt", device=gpu))
    here = run(spec, cache_dir, tmp_path / "cpu.pt")

    assert there[0].train_loss == pytest.approx(here[0].train_loss, rel=1e-2)


def test_a_trial_leaves_the_process_its_threads(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path
) -> None:
    """A trial runs in one thread; its caller keeps its own, also if it stops early."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        device = torch.device("cpu")
        records = run_trial(spec, cache_dir=cache_dir, checkpoint=tmp_path / "c.pt", device=device)
        next(records)
        between = torch.get_num_threads()
        records.close()
        after = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)

    assert (between, after) == (2, 2)
