"""The README's commands, and the examples and figures of the documentation, are the program's."""

import inspect
import re
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from conftest import ROOT

import ablations
from ablations.config import read_config
from sknet import list_models

README = (ROOT / "README.md").read_text(encoding="utf-8")
SUMMARY = "results/kernel_combination/quick/summary.md"


def find_examples(page: str, language: str) -> list[str]:
    """The blocks of a page of docs/ in a language, in order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_readme_is_short() -> None:
    """Reference belongs to the site."""
    assert len(README.splitlines()) <= 150


def test_there_are_two_one_line_commands() -> None:
    """Each creates its environment, installs, and works."""
    commands = re.findall(r"^python3 -m venv .*$", README, flags=re.MULTILINE)

    assert [command.split("/")[-1] for command in commands] == [
        "run-ablation dilation_group",
        "pytest",
    ]
    assert all("pip install -q -c constraints.txt -e" in command for command in commands)


def test_the_table_is_the_one_that_was_printed() -> None:
    """Byte for byte what the command wrote into results/, in at most seven columns.

    Running the command rewrites results/ with another commit and device; then the committed table
    counts.
    """
    shown = README.partition("summary.md -->\n")[2].partition("<!-- end of table")[0]
    committed = subprocess.run(
        ["git", "show", f"HEAD:{SUMMARY}"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    written = ((ROOT / SUMMARY).read_text(encoding="utf-8"), committed)

    assert shown.strip() in [text.partition("\n\n")[2].strip() for text in written]
    [heading] = re.findall(r"^\| .* \|\n(?=\| ---)", shown, flags=re.MULTILINE)
    assert heading.count("|") - 1 <= 7


def test_quoted_findings_are_those_of_the_results() -> None:
    """Results change with every look; a sentence does not follow by itself."""
    findings = README.partition("## Findings")[2].partition("## Why not")[0]
    numbers = re.findall(r"\d+\.\d\d ± \d+\.\d\d", findings)
    pages = [*ROOT.glob("results/*/*/summary.md"), *ROOT.glob("results/*/*/attention/table.md")]
    tables = [path.read_text(encoding="utf-8") for path in pages]

    assert len(numbers) >= 3
    assert [number for number in numbers if number not in "".join(tables)] == []


def test_links_of_the_readme_lead_somewhere() -> None:
    """On GitHub they are relative to the root."""
    links = re.findall(r"\]\(([^)#]+)", README)
    local = [link for link in links if not link.startswith("https://")]

    assert [link for link in local if not (ROOT / link).exists()] == []


def test_the_python_example_uses_functions_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls must fit the signatures; committed results stand in for training."""
    [example] = find_examples("how-to/python.md", "python")
    monkeypatch.chdir(ROOT)
    read = ablations.read_results(ROOT / "results" / "dilation_group" / "quick")

    def check(signature: inspect.Signature, *args: object, **kwargs: object) -> object:
        signature.bind(*args, **kwargs)
        return read

    for function in (ablations.run, ablations.plan):
        checked = partial(check, inspect.signature(function))
        monkeypatch.setattr(ablations, function.__name__, checked, raising=False)
    names: dict[str, Any] = {}

    exec(example, names)

    assert names["outcome"].table["n"].min() >= 3


def test_the_networks_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, with a checkpoint of timm's where it looks for one."""
    [example] = find_examples("how-to/networks.md", "python")
    monkeypatch.chdir(tmp_path)
    torch.save(timm.create_model("seresnext50_32x4d").state_dict(), "seresnext50_32x4d.pth")
    names: dict[str, object] = {}

    exec(example, names)

    assert f"names all {len(list_models())}" in example
    weights = names["weights"]["SK_3_4"]  # type: ignore[index]
    assert weights.shape == (1, 2, 256)


def test_the_yaml_example_is_valid(tmp_path: Path) -> None:
    """It can be copied as it is."""
    [example] = find_examples("reference/experiments.md", "yaml")
    path = tmp_path / "experiments.yaml"
    path.write_text(example)

    config = read_config(path)

    assert yaml.safe_load(example)["experiments"].keys() == config.experiments.keys()
