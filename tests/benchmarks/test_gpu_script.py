"""The benchmarks for a GPU, at tiny sizes on whatever device there is."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import gpu


@pytest.fixture(autouse=True)
def keep_threads() -> Iterator[None]:
    """The script limits PyTorch to one thread, which other tests must not notice."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_script_measures_every_row(tmp_path: Path) -> None:
    """The script runs on rented machines, where a fault costs a session."""
    code = gpu.main(["--quick", "--out", str(tmp_path)])

    content = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    rows = [(row["name"].partition(",")[0], row["peer"]) for row in content["measurements"]]
    timms = [f"timm's SelectiveKernel, {mode}" for mode in ("eager", "compiled")]
    assert code == 0
    assert rows == [
        *[(f"SKConv {shape}", peer) for shape in ("32@8", "64@4") for peer in timms],
        *[("SKConv", peer) for peer in timms],
        *[("sknet_tiny at 32", f"timm's skresnet18, {mode}") for mode in ("eager", "compiled")],
        ("sknet_tiny at 32", "our resnext_tiny, compiled"),
        ("sknet_tiny at 32", None),
        ("convolution in fp32", None),
        ("convolution in fp32", None),
        ("loader of CIFAR-size images", None),
        ("2 small trials that share the GPU", "one at a time"),
        ("2 small trials that share the GPU", None),
    ]


def test_a_failure_loses_no_other_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The failure is printed, and the rows before and after it are written."""
    suite = gpu.Suite(folder=tmp_path, scale=gpu.QUICK)
    row = gpu.Measurement(name="copy", unit="s", values=(1.0,))

    def fail() -> list[gpu.Measurement]:
        raise RuntimeError("out of memory")

    for measure in (lambda: [row], fail, lambda: [row]):
        suite.attempt("copy", measure)

    assert suite.failures == ["copy: RuntimeError: out of memory"]
    assert "failed: copy: RuntimeError: out of memory" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "gpu.json").read_text())["measurements"]) == 2
