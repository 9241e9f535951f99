"""Operators that users wrote are imported, identified, counted and trained."""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import EXPERIMENTS, Answer

from ablations import user_code
from ablations.backends import BackendName, EpochDone, Event, Job, run_job
from ablations.complexity.counts import Sized, count_complexities, count_complexity
from ablations.config import read_config
from ablations.data.catalogue import DATASETS
from ablations.matrix import build_matrix
from ablations.matrix.user_operators import check_shapes, describe_operator
from ablations.plans import TrialSpec
from ablations.trial.run import run_trial
from ablations.user_code import UserCodeError, import_from
from sknet.operators import build_operator
from sknet.spec import SelectiveKernel, UserOperator
from sknet.zoo import NETWORKS

MODULE = """
import torch
from torch import Tensor, nn


class Mixed(nn.Module):
    def __init__(
        self, channels: int, *, stride: int, kernel: int = 3, drop: float = 0.0,
        sizes: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels),
            nn.BatchNorm2d(channels),
            nn.Dropout(drop),
        )
        self.scale = nn.Parameter(torch.rand(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.gelu(self.layers(x) * self.scale)


class Shrinking(Mixed):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[..., :-1]


NOT_A_CLASS = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the user's module, which is unloaded after the test."""
    (tmp_path / "their_modules.py").write_text(MODULE)
    (tmp_path / "their_helper.py").write_text("NUMBER = 1\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("their_")]:
        del sys.modules[name]


def describe(folder: Path, name: str = "Mixed", **settings: object) -> UserOperator:
    """The operator as a variant describes it."""
    return describe_operator(f"their_modules:{name}", settings, sources=[], folder=folder)


def test_settings_are_converted_and_completed(folder: Path) -> None:
    """By the annotations of the class, so that equal settings have equal identities."""
    operator = describe(folder, kernel=5, drop=1, sizes=[1, 2])

    assert dict(operator.settings) == {"kernel": 5, "drop": 1.0, "sizes": (1, 2)}
    assert describe(folder) == describe(folder, kernel=3)


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        ("their_modules:Mixed", {"kernel": "five"}, r"settings.kernel: .*integer.*got 'five'"),
        ("their_modules:Mixed", {"kernal": 5}, r"settings.kernal: Extra inputs"),
        ("their_modules:Mixxed", {}, "must be a subclass of nn.Module, got None"),
        ("their_modules:NOT_A_CLASS", {}, "must be a subclass of nn.Module, got 3"),
        ("their_mod:Mixed", {}, "their_mod:Mixed must be importable, got No module"),
        ("their_modules.Mixed", {}, "operator must be sk or package.module:Class"),
    ],
)
def test_faults_are_reported(
    path: str, settings: dict[str, object], message: str, folder: Path
) -> None:
    """Before anything is trained."""
    with pytest.raises(ValueError, match=message):
        describe_operator(path, settings, sources=[], folder=folder)


def test_a_missing_source_is_reported(folder: Path) -> None:
    """A file that is part of the identity must exist."""
    with pytest.raises(ValueError, match=r"sources must name files, got .*absent.py"):
        describe_operator("their_modules:Mixed", {}, sources=["absent.py"], folder=folder)


def test_output_shapes_are_tested(folder: Path) -> None:
    """A module that does not fit between two convolutions is refused."""
    check_shapes(describe(folder), [16, 32])

    with pytest.raises(ValueError, match=r"must map \(2, 16, 8, 8\) to \(2, 16, 8, 8\) with stri"):
        check_shapes(describe(folder, "Shrinking"), [16])
    with pytest.raises(UserCodeError, match=r"their_modules.py:\d+: Runtime.* for 16 channels"):
        check_shapes(describe(folder, kernel=-1), [16])


FAULTS = {
    "x = (": r"their_faults.py:1: SyntaxError: '\(' was never closed",
    "import torch\nundefined": r"their_faults.py:2: NameError: name 'undefined' is not defined",
    "import missing_module": r"their_faults.py:1: ModuleNotFoundError: No module named 'missing_",
    "raise SystemExit(0)": r"their_faults.py:1: SystemExit: 0",
    "import sys\nsys.exit('bye')": r"their_faults.py:2: SystemExit: bye",
    "raise MemoryError": r"their_faults.py:1: MemoryError",
    "def f(): f()\nf()": r"their_faults.py:1: RecursionError",
    "raise RuntimeError('a\\x1b[2J' + 9999 * 'b')": r"faults.py:1: RuntimeError: a\\x1b\[2Jb+\.",
    "def __getattr__(name): raise KeyError(name)": r"their_faults.py:1: KeyError: '",
    """class E(Exception):
    def __str__(self): raise ValueError
raise E""": r"their_faults.py:3: .*E: <exception str\(\) failed>",
    "while True: pass": r"their_faults.py:1: TimeoutError: no end after 3 s",
    """from torch import nn
class Own(nn.Module):
    def __init__(self, channels, stride, x: "Missing" = None): ...""": "NameError: name 'Missing'",
    """from torch import nn
class Own(nn.Module):
    def __init__(self, channels, stride, a: float = float("nan")): ...""": "finite number, got nan",
    """from torch import nn
class Own(nn.Module):
    def __init__(self, channels, stride): raise ValueError("no")""": r"faults.py:3: ValueError: no",
    """from torch import nn
class Own(nn.Module):
    def __init__(self, channels, stride): super().__init__()
    def forward(self, x): exit(0)""": r"their_faults.py:4: SystemExit: 0",
    """from torch import nn
class Own(nn.Module):
    def __init__(self, channels, stride): super().__init__()
    def forward(self, x): return x.double()""": r"tensor of torch.float32, got torch.float64",
    """from torch import nn
class Own(nn.Module):
    def __init__(self, channels, stride): super().__init__()
    def forward(self, x): return x.numpy()""": r"tensor of torch.float32, got float32",
    """from torch import nn
Own = type("Own", (nn.Module,), {"__module__": None})""": "must be defined in a file",
}
"""Modules that are somebody's half-finished code, with what must be said."""


@pytest.mark.parametrize("code", FAULTS)
def test_whatever_a_module_does_is_one_message(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With file, line and the error, as running the module alone would show it."""
    (tmp_path / "their_faults.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_faults", raising=False)
    monkeypatch.setattr(user_code, "LIMIT_SECONDS", 3.0)
    path = "their_faults:Own"

    with pytest.raises((ValueError, UserCodeError), match=FAULTS[code]) as error:
        check_shapes(describe_operator(path, {}, sources=[], folder=tmp_path), [8])

    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000
    monkeypatch.delitem(sys.modules, "their_faults", raising=False)


def test_annotations_may_be_any_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `nn.Module | None` for an activation, which experiments.yaml leaves at its default."""
    code = """from torch import nn
class Own(nn.Module):
    def __init__(self, channels: int, *, stride: int, act: nn.Module | None = None): ..."""
    (tmp_path / "their_hints.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))

    operator = describe_operator("their_hints:Own", {}, sources=[], folder=tmp_path)

    assert dict(operator.settings) == {"act": None}


@pytest.mark.parametrize("returned", ["'x'", "-1", "float('nan')", "1 / 0"])
def test_odd_counts_are_reported(folder: Path, returned: str, tmp_path: Path) -> None:
    """They are part of the complexity that tables show."""
    code = f"{MODULE}\nMixed.count_rescaling = lambda self, output: {returned}\n"
    (folder / "their_modules.py").write_text(code)
    sys.modules.pop("their_modules", None)
    network = replace(NETWORKS["resnext_tiny"], operator=describe(folder))

    with pytest.raises(UserCodeError, match="counting the multiply-adds of Mixed"):
        count_complexities([Sized(network, 32)], cache_file=tmp_path / "complexity.json")


def test_a_module_that_exits_in_training_fails_its_trial(
    folder: Path, spec: TrialSpec, cache_dir: Path, tmp_path: Path
) -> None:
    """Otherwise the run would end with exit code 0, as if all was well."""
    own = make_spec(spec, describe(folder))
    sys.modules["their_modules"].Mixed.forward = lambda _self, _x: exit(0)
    records = run_trial(
        own, cache_dir=cache_dir, checkpoint=tmp_path / "c.pt", device=torch.device("cpu")
    )

    with pytest.raises(RuntimeError, match=r"called sys.exit\(0\)"):
        next(records)


def make_spec(spec: TrialSpec, operator: UserOperator) -> TrialSpec:
    """The trial with the user's operator instead of SK."""
    return replace(spec, network=replace(spec.network, operator=operator))


def test_the_content_of_files_is_part_of_the_identity(folder: Path, spec: TrialSpec) -> None:
    """So are settings and other files, but not their location."""

    def key_of(**settings: object) -> str:
        operator = describe_operator(
            "their_modules:Mixed", settings, sources=["their_helper.py"], folder=folder
        )
        return make_spec(spec, operator).key

    first = key_of()
    (folder / "their_helper.py").write_text("NUMBER = 2\n")
    second = key_of()
    (folder / "their_modules.py").write_text(MODULE + "# changed\n")

    assert len({first, second, key_of(), key_of(kernel=5)}) == 4
    assert str(folder) not in str(make_spec(spec, describe(folder)).facts)


def test_a_file_that_changed_after_planning_is_refused(folder: Path) -> None:
    """A worker must not train anything that was not planned."""
    operator = describe(folder)
    (folder / "their_modules.py").write_text(MODULE + "# changed\n")
    del sys.modules["their_modules"]  # as in another process

    with pytest.raises(ValueError, match=r"their_modules.py must be the file that the trial was"):
        build_operator(operator, 16)


def test_an_edit_within_a_session_is_what_is_trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a notebook would record the old class under the identity of the new one."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # Python's cache must not hide the edit
    before = describe(folder)
    (folder / "their_modules.py").write_text(MODULE.replace("gelu", "relu"))

    after = describe(folder)

    output = build_operator(after, 16).eval()(torch.randn(2, 16, 8, 8))
    assert before != after
    assert output.min() == 0
    with pytest.raises(ValueError, match="must be the file that the trial was planned with"):
        build_operator(before, 16)


def test_a_module_that_the_user_had_imported_is_imported_as_it_is_now(folder: Path) -> None:
    """What was executed is not known then."""
    import_from(folder)
    importlib.import_module("their_modules")
    (folder / "their_modules.py").write_text(MODULE.replace("gelu", "relu"))

    operator = describe(folder)

    assert build_operator(operator, 16).eval()(torch.randn(2, 16, 8, 8)).min() == 0


def test_an_edited_source_is_what_is_trained(folder: Path) -> None:
    """It is part of the identity, so the class must use it as it is now."""
    code = MODULE.replace("import torch\n", "import torch\nfrom their_package import helper\n")
    code = code.replace("gelu(self.layers(x) * self.scale)", "relu(x) * helper.NUMBER")
    (folder / "their_modules.py").write_text(code)
    (folder / "their_package").mkdir()
    (folder / "their_package/helper.py").write_text("NUMBER = 1\n")
    sources = ["their_package/helper.py"]
    describe_operator("their_modules:Mixed", {}, sources=sources, folder=folder)
    (folder / "their_package/helper.py").write_text("NUMBER = 3\n")

    operator = describe_operator("their_modules:Mixed", {}, sources=sources, folder=folder)

    x = torch.ones(1, 16, 8, 8)
    assert torch.equal(build_operator(operator, 16)(x), 3 * x)


def test_an_unchanged_module_is_imported_once(folder: Path) -> None:
    """Importing may be slow, and what it registers can often be registered only once."""
    describe(folder)
    first = sys.modules["their_modules"]

    describe_operator("their_modules:Mixed", {}, sources=["their_helper.py"], folder=folder)
    second = sys.modules["their_modules"]
    describe(folder)

    assert first is not second  # nobody knows whether it had used the helper before an edit
    assert sys.modules["their_modules"] is second


def test_an_edit_of_an_installed_module_is_refused(folder: Path, tmp_path: Path) -> None:
    """Others may depend on it as it was imported."""
    project = tmp_path / "project"
    project.mkdir()
    sys.path.append(str(folder))
    describe(project)
    (folder / "their_modules.py").write_text(MODULE + "# changed\n")

    with pytest.raises(UserCodeError, match=r"their_modules.py changed after .* Restart Python"):
        describe(project)


def test_a_baseline_may_differ_in_its_operator(folder: Path) -> None:
    """Settings in `base` are those of the variants with the user's operator, as those of SK are."""
    (folder / "experiments.yaml").write_text("""
experiments:
  own:
    question: Is mine better?
    expect: It is.
    base: {operator: "their_modules:Mixed", settings: {kernel: 5}}
    baseline: SK
    variants:
      SK: {operator: sk, branches: [K3, K5]}
      mine: {}
""")
    config = read_config(folder / "experiments.yaml")

    matrix = build_matrix(config, "own", body_name="tiny", dataset=DATASETS["cifar10"])

    [selective, own] = [variant.network.operator for variant in matrix.variants]
    assert isinstance(selective, SelectiveKernel)
    assert isinstance(own, UserOperator)
    assert dict(own.settings)["kernel"] == 5


def test_an_operator_may_be_named_by_the_package_that_exports_it(folder: Path) -> None:
    """Its identity is the file that defines it, for the plan as for the worker."""
    package = folder / "their_package"
    package.mkdir()
    (package / "__init__.py").write_text("from their_package.parts import Mixed\n")
    (package / "parts.py").write_text(MODULE)
    path = "their_package:Mixed"

    before = describe_operator(path, {}, sources=[], folder=folder)
    built = build_operator(before, 16)
    (package / "parts.py").write_text(MODULE.replace("gelu", "relu"))
    after = describe_operator(path, {}, sources=[], folder=folder)

    assert type(built).__module__ == before.sources[0][0].removesuffix(".py")
    assert before != after
    assert build_operator(after, 16).eval()(torch.randn(2, 16, 8, 8)).min() == 0


def test_a_user_operator_is_counted(folder: Path) -> None:
    """Its parameters and multiply-adds count; operators that are not counted are listed."""
    plain = count_complexity(Sized(NETWORKS["resnext_tiny"], 32))
    network = replace(NETWORKS["resnext_tiny"], operator=describe(folder))

    found = count_complexity(Sized(network, 32))

    depthwise = sum(c * (9 + 1 + 2 + 1) for c in (16, 32, 64))  # weights, bias, norm, scale
    grouped = sum(c * (9 * c // 4 + 2) for c in (16, 32, 64))
    assert found.params - plain.params == depthwise - grouped
    assert "aten::gelu" in found.uncounted


def test_training_a_user_operator_is_reproducible(
    folder: Path, spec: TrialSpec, cache_dir: Path, tmp_path: Path
) -> None:
    """Its parameters and its dropout depend only on the seed, even after an interruption."""
    own = make_spec(spec, describe(folder, drop=0.5))
    cpu = torch.device("cpu")

    def run(name: str, *, epochs: int = 2) -> list[float]:
        checkpoint = tmp_path / f"{name}.pt"
        records = run_trial(own, cache_dir=cache_dir, checkpoint=checkpoint, device=cpu)
        return [next(records).train_loss for _ in range(epochs)]

    whole = run("whole")
    torch.rand(3)  # the global generator may be used elsewhere
    first = run("parts", epochs=1)

    assert run("again") == whole
    assert [*first, run("parts")[1]] == whole


@pytest.mark.parametrize("backend", ["local", "ray"])
def test_both_backends_train_a_user_operator(
    backend: BackendName, folder: Path, spec: TrialSpec, make_job: Callable[..., Job]
) -> None:
    """Workers find the module."""
    own = make_spec(spec, describe(folder))
    events: list[Event] = []

    job = make_job(own, backend=backend)
    run_job(replace(job, import_paths=tuple(sys.path)), events.append)

    last = events[-1]
    assert isinstance(last, EpochDone)
    assert last.record.is_last


def test_a_user_operator_is_a_variant_like_any_other(
    folder: Path, command: Callable[..., Answer]
) -> None:
    """From the YAML to the table; wrong settings are refused before anything is written."""
    text = (
        EXPERIMENTS
        + """
  own:
    question: Is mine better?
    expect: It is.
    columns: [kernels]
    baseline: K3
    variants:
      K3: {branches: [K3], attention: sum}
      mine: {operator: "their_modules:Mixed", settings: {kernel: 5}}
"""
    )
    (folder / "experiments.yaml").write_text(text.replace("kernel: 5}", "kernel: 5.5}"))
    refused = command("run-ablation", "own", "--backend", "local", "--tracking-uri", "off")
    (folder / "experiments.yaml").write_text(text)
    answer = command("run-ablation", "own", "--backend", "local", "--tracking-uri", "off")

    assert refused.code == 2
    assert "own.variants.mine: " in refused.err
    assert "settings.kernel: Input should be a valid integer" in refused.err
    assert answer.code == 0
    assert "Trials: 6 of 6 finished." in answer.out
    assert "Mixed(drop=0.0, kernel=5, sizes=())" in answer.out
