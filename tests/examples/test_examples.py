"""The examples that the documentation shows can be planned and run as they are."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

EXAMPLES = {"own_module": "separable", "own_dataset": "selection"}
"""Folders of examples, with the experiment of each."""

CPU = {"CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of an example, so that nothing is written into the repository."""
    folder = tmp_path / str(request.param)
    ignored = shutil.ignore_patterns("runs", "results", "__pycache__")
    return Path(shutil.copytree(ROOT / "examples" / str(request.param), folder, ignore=ignored))


def run(example: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in the example's folder, as its README says."""
    code = f"import sys; sys.argv[0] = {command!r}; from ablations import cli; "
    code += "cli.main_run()" if command == "run-ablation" else "cli.main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=example,
        env={**os.environ, **CPU, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_example_can_be_planned(example: Path) -> None:
    """Its module is found, its variants fit the body, and its images are accepted."""
    answer = run(example, "ablations", "plan", EXAMPLES[example.name], "--json")

    assert answer.returncode == 0, answer.stderr
    [plan] = json.loads(answer.stdout)
    assert plan["count"]["to run"] == len(plan["trials"]) > 0


@pytest.mark.slow
def test_an_example_can_be_run(example: Path) -> None:
    """Every trial finishes, with the command of its README and fewer epochs and seeds."""
    answer = run(
        example,
        "run-ablation",
        EXAMPLES[example.name],
        *("--set", "epochs=1", "--seeds", "0", "--backend", "local", "--tracking-uri", "off"),
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
    included = re.findall(r'^--8<-- "(.+)"$', page.read_text(encoding="utf-8"), re.MULTILINE)

    assert all((ROOT / path).is_file() for path in included), included


def test_every_example_is_included_in_the_documentation() -> None:
    """Each file of an example is explained somewhere."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)

    for name in EXAMPLES:
        for path in (ROOT / "examples" / name).glob("[!.]*.*"):
            if path.suffix in (".py", ".yaml"):
                assert f'--8<-- "examples/{name}/{path.name}"' in text
