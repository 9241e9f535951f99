"""The examples that the documentation shows can be planned and run as they are."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from ablations.config import read_config
from ablations.reconcile.plans import Selection, draw_plan
from ablations.workspace import Workspace

EXAMPLES = {"own_module": "separable", "own_dataset": "selection"}
"""Folders of examples, with the experiment of each."""


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of an example, so that nothing is written into the repository."""
    folder = tmp_path / str(request.param)
    ignored = shutil.ignore_patterns("runs", "results", "__pycache__")
    return Path(shutil.copytree(ROOT / "examples" / str(request.param), folder, ignore=ignored))


def test_an_example_can_be_planned(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its module is found, its variants fit the body, and its images are accepted."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = read_config(example / "experiments.yaml")

    plan = draw_plan(
        config,
        EXAMPLES[example.name],
        Selection(),
        workspace=Workspace(runs_dir=example / "runs", data_dir=example / "data"),
    )

    assert len(plan.to_run) == 3 * len(plan.variants) > 0


@pytest.mark.slow
def test_an_example_can_be_run(example: Path) -> None:
    """Every trial finishes, with the command of its README and fewer epochs and seeds."""
    code = "from ablations.cli import main_run; main_run()"
    options = ("--set", "epochs=1", "--seeds", "0", "--backend", "local", "--tracking-uri", "off")

    answer = subprocess.run(
        [sys.executable, "-c", code, EXAMPLES[example.name], *options],
        cwd=example,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert answer.returncode == 0, answer.stderr
    content = yaml.safe_load((example / "experiments.yaml").read_text())
    count = len(content["experiments"][EXAMPLES[example.name]]["variants"])
    assert f"Trials: {count} of {count} finished." in answer.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_readme_of_an_example_shows_its_command(name: str) -> None:
    """It can be copied and run."""
    text = (ROOT / "examples" / name / "README.md").read_text(encoding="utf-8")

    assert f"cd examples/{name}" in text
    assert f"run-ablation {EXAMPLES[name]}" in text
    assert len(text.splitlines()) <= 20


PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_in_the_documentation_is_included_from_the_examples(page: Path) -> None:
    """So it cannot differ from what these tests run."""
    included = re.findall(r'^--8<-- "([^":]+).*"$', page.read_text(encoding="utf-8"), re.MULTILINE)

    assert all((ROOT / path).is_file() for path in included), included


def test_every_example_is_included_in_the_documentation() -> None:
    """Each file of an example is explained somewhere."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)

    for name in EXAMPLES:
        for path in (ROOT / "examples" / name).glob("[!.]*.*"):
            if path.suffix in (".py", ".yaml"):
                assert f'--8<-- "examples/{name}/{path.name}"' in text
