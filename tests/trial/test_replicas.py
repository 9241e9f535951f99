"""Several processes train one trial as one process would."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch
from conftest import assert_same_weights
from replica_tasks import fail, linger, resume_apart, train_all, train_exactly
from torch import distributed as dist
from torch import nn

from ablations.data.batches import ALONE
from ablations.errors import InputError
from ablations.plans import TrialSpec
from ablations.trial.memory import is_out_of_memory
from ablations.trial.records import EpochRecord
from ablations.trial.replicas import ReplicaError, run_replicas
from ablations.trial.run import run_trial
from ablations.trial.synchronisation import SynchronisedBatchNorm, synchronise_norms
from sknet import build_network
from sknet.spec import (
    BottleneckAttention,
    ConvolutionalAttention,
    NetworkSpec,
    SqueezeExcitation,
    UserOperator,
)

CPU = torch.device("cpu")


def alter(spec: TrialSpec, **changes: object) -> TrialSpec:
    """The same trial with changes to its recipe."""
    return replace(spec, recipe=spec.recipe.model_copy(update=changes))


def run(spec: TrialSpec, cache_dir: Path, checkpoint: Path) -> list[EpochRecord]:
    """All records of a trial on the CPU."""
    return list(run_trial(spec, cache_dir=cache_dir, checkpoint=checkpoint, device=CPU))


def test_two_replicas_train_as_one_process_does(spec: TrialSpec, cache_dir: Path) -> None:
    """On the same batches if batch normalisation is synchronised; else on each batch in two parts.

    In double precision, nothing but rounding could differ: it is 1e-15 at each step.
    """
    both = alter(spec, replicas=2, rotation=10.0, pixel_jitter=20.0)
    synchronised = alter(both, batch_norm="synchronised")
    train = partial(train_all, specs=(synchronised, both), cache_dir=cache_dir)

    together = list(run_replicas(train, count=2, device_type="cpu"))

    whole = list(train_exactly(ALONE, CPU, spec=synchronised, cache_dir=cache_dir))
    divided = list(train_exactly(ALONE, CPU, spec=both, cache_dir=cache_dir, parts=2))
    for found, expected in zip(together, whole + divided, strict=True):
        assert found["weights"] == pytest.approx(expected["weights"], rel=1e-9)
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)  # a sum in fp32
        assert found["images"] == expected["images"] == 64
    for found, expected in zip(together[:2], whole, strict=True):
        assert found["statistics"] == pytest.approx(expected["statistics"], rel=1e-9)
        assert found["correct"] == expected["correct"]
    assert together[2]["weights"] != pytest.approx(together[0]["weights"], rel=1e-3)


def test_a_trial_of_replicas_has_the_curve_of_one_process_interrupted_or_not(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path
) -> None:
    """Up to rounding, which this network magnifies; resumed equals uninterrupted to the bit.

    The first replica writes the checkpoints, and every replica resumes from them.
    """
    gentle = alter(spec, learning_rate=0.001)
    own = alter(gentle, replicas=2, batch_norm="synchronised")
    alone = run(gentle, cache_dir, tmp_path / "alone.pt")
    whole = run(own, cache_dir, tmp_path / "whole.pt")
    trial = run_trial(own, cache_dir=cache_dir, checkpoint=tmp_path / "cut.pt", device=CPU)
    [first] = islice(trial, 1)
    trial.close()

    resumed = run(own, cache_dir, tmp_path / "cut.pt")

    losses = [[record.train_loss for record in records] for records in (alone, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert [r.learning_rate for r in alone] == [r.learning_rate for r in whole]
    assert len(whole[-1].correct or b"") == 40
    assert first == whole[0]
    assert resumed == whole
    assert_same_weights(tmp_path / "whole.pt", tmp_path / "cut.pt")


@pytest.mark.parametrize("damaged", [0, 1])
def test_replicas_resume_together_or_start_over_together(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path, damaged: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One that cannot read the checkpoint would average gradients of other weights and epochs."""
    own = alter(spec, replicas=2)
    whole = run(own, cache_dir, tmp_path / "whole.pt")
    trial = run_trial(own, cache_dir=cache_dir, checkpoint=tmp_path / "0.pt", device=CPU)
    next(trial)
    trial.close()
    (tmp_path / "1.pt").write_bytes((tmp_path / "0.pt").read_bytes())
    (tmp_path / f"{damaged}.pt").write_bytes(b"")
    train = partial(resume_apart, spec=own, cache_dir=cache_dir, folder=tmp_path)

    resumed = list(run_replicas(train, count=2, device_type="cpu"))

    assert resumed == whole
    assert "only some replicas could resume" in caplog.text


def test_a_module_of_the_user_may_have_unused_parameters(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path
) -> None:
    """As in one process; the replicas would wait for their gradients."""
    operator = UserOperator(path="replica_tasks:Wasteful")
    own = alter(replace(spec, network=replace(spec.network, operator=operator)), replicas=2)

    records = run(own, cache_dir, tmp_path / "a.pt")

    assert [record.is_last for record in records] == [False, True]
    assert not records[-1].diverged


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", "replica 2 of 2: ValueError: a layer is missing"),
        ("kill", "replica 2 of 2 was ended by SIGKILL, which the system does when memory runs out"),
        ("exit", "replica 2 of 2 ended with exit code 0"),
    ],
)
def test_a_failure_of_one_replica_is_that_of_the_trial(
    how: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With its own message, even if the trial's process looks only when all have failed.

    What all replicas log is reported once.
    """
    results = run_replicas(partial(fail, how=how), count=2, device_type="cpu")
    next(results)
    started = time.monotonic()

    time.sleep(1)
    with pytest.raises(ReplicaError, match=message):
        list(results)

    assert time.monotonic() - started < 60  # rather than wait for the others
    assert [record.getMessage() for record in caplog.records] == ["layers may be missing"]


@pytest.mark.parametrize(("how", "expected"), [("starve", True), ("raise", False)])
def test_a_lack_of_memory_in_a_replica_is_one_of_the_trial(how: str, expected: bool) -> None:
    """Such a trial is tried once more when no other is running."""
    results = run_replicas(partial(fail, how=how), count=2, device_type="cpu")

    with pytest.raises(ReplicaError) as caught:
        list(results)

    assert is_out_of_memory(caught.value) is expected


def list_alive(folder: Path) -> list[int]:
    """Ids of the processes that left a file in a folder and are still alive."""
    command_lines = {
        int(path.name): Path(f"/proc/{path.name}/cmdline") for path in folder.iterdir()
    }
    return [pid for pid, path in command_lines.items() if path.exists() and path.read_bytes()]


def test_a_trial_that_is_closed_leaves_no_process(tmp_path: Path) -> None:
    """A run that was interrupted closes the trials that it drives."""
    results = run_replicas(partial(linger, folder=tmp_path), count=2, device_type="cpu")
    next(results)
    before = list_alive(tmp_path)

    results.close()

    assert len(before) == 2
    assert list_alive(tmp_path) == []


def test_replicas_end_with_the_process_of_their_trial(tmp_path: Path) -> None:
    """Even if it was killed."""
    code = (
        "from functools import partial; from pathlib import Path; from replica_tasks import linger;"
        "from ablations.trial.replicas import run_replicas;"
        f"task = partial(linger, folder=Path({str(tmp_path)!r}));"
        "results = run_replicas(task, count=2, device_type='cpu');"
        "print(next(results), flush=True); next(results)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    before = list_alive(tmp_path)

    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 30
    while list_alive(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)

    assert len(before) == 2
    assert list_alive(tmp_path) == []


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_as_one_does(spec: TrialSpec, cache_dir: Path, tmp_path: Path) -> None:
    """Over NCCL, with PyTorch's own synchronised batch normalisation, up to rounding."""
    gentle = alter(spec, learning_rate=0.001)
    both = alter(gentle, replicas=2, batch_norm="synchronised")
    places = {"cache_dir": cache_dir, "device": torch.device("cuda")}

    alone = list(run_trial(gentle, checkpoint=tmp_path / "a.pt", **places))  # type: ignore[arg-type]
    together = list(run_trial(both, checkpoint=tmp_path / "b.pt", **places))  # type: ignore[arg-type]

    losses = [[record.train_loss for record in records] for records in (alone, together)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.fixture
def _one_replica() -> Iterator[None]:
    """A group of one process, in this one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("_one_replica")
@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d])
@pytest.mark.parametrize(
    "settings", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}]
)
def test_synchronised_normalisation_equals_pytorchs(kind: type, settings: dict) -> None:
    """Outputs, gradients and running statistics, in training and in evaluation."""
    sizes = (6, 3, *{nn.BatchNorm1d: (), nn.BatchNorm2d: (4, 5), nn.BatchNorm3d: (2, 3, 4)}[kind])
    theirs = nn.Sequential(kind(3, **settings)).double()
    ours = nn.Sequential(kind(3, **settings))
    ours.load_state_dict(theirs.state_dict())
    synchronise_norms(ours, device=CPU)
    ours.double()
    inputs = [torch.randn(sizes, dtype=torch.double, requires_grad=True) for _ in range(2)]

    for x in inputs:
        found, expected = ours(x), theirs(x)
        pull = torch.randn_like(expected)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(
            torch.autograd.grad(found, [x, *ours.parameters()], pull),
            torch.autograd.grad(expected, [x, *theirs.parameters()], pull),
        )

    assert type(ours[0]) is SynchronisedBatchNorm
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(inputs[0]), theirs.eval()(inputs[0]))


def test_a_normalisation_of_the_users_own_cannot_be_synchronised() -> None:
    """It may compute something else, which would be lost without a message."""
    own = type("MyNorm", (nn.BatchNorm2d,), {})

    with pytest.raises(InputError, match=r"needs PyTorch's own batch normalisation, got MyNorm"):
        synchronise_norms(nn.Sequential(own(3)), device=CPU)


@pytest.mark.parametrize(
    "attention", [None, SqueezeExcitation(), ConvolutionalAttention(), BottleneckAttention()]
)
def test_every_parameter_of_our_networks_has_a_gradient(spec: TrialSpec, attention: object) -> None:
    """One without would make replicas wait for it for ever."""
    network_spec: NetworkSpec = replace(spec.network, attention=attention)  # type: ignore[arg-type]
    network = build_network(network_spec)

    network(torch.randn(4, 1, 32, 32)).sum().backward()

    assert all(parameter.grad is not None for parameter in network.parameters())
