"""Commands, keys, examples and figures of the README are those of the program."""

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from conftest import ROOT, Answer
from typer.main import get_command

import ablations
from ablations.cli.app import app
from ablations.config import (
    AttentionSettings,
    BodySettings,
    Budget,
    Claim,
    Experiment,
    Recipe,
    Statement,
    VariantSettings,
    read_config,
)
from sknet import list_models
from sknet.spec import Body, Branch, MobileNetV2Body, ShuffleNetV2Body, Stem

README = (ROOT / "README.md").read_text(encoding="utf-8")
KEYS = sorted(
    {
        *(
            name
            for model in (
                Experiment,
                VariantSettings,
                AttentionSettings,
                BodySettings,
                Recipe,
                Claim,
                Statement,
                Budget,
            )
            for name in model.model_fields
        ),
        *(
            field.name
            for cls in (Body, ShuffleNetV2Body, MobileNetV2Body, Branch, Stem)
            for field in fields(cls)
        ),
    }
)


def find_examples(language: str) -> list[str]:
    """The README's blocks in a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_yaml_is_named(key: str) -> None:
    """A key that is not documented cannot be found."""
    assert f"`{key}`" in README


@pytest.mark.parametrize("verb", sorted(get_command(app).commands))  # type: ignore[attr-defined]
def test_every_command_is_named(verb: str) -> None:
    """As a user would type it."""
    assert re.search(rf"\b(ablations {verb}|run-ablation)\b", README)


def test_every_option_of_a_run_is_named() -> None:
    """In the paragraph on options."""
    options = {
        name
        for parameter in get_command(app).commands["run"].params  # type: ignore[attr-defined]
        for name in parameter.opts
        if name.startswith("--")
    }

    assert {option for option in options if f"`{option}" not in README} == set()


def test_there_are_two_one_line_commands() -> None:
    """Each creates its environment, installs, and works."""
    commands = re.findall(r"^python3 -m venv .*$", README, flags=re.MULTILINE)

    assert [command.split("/")[-1] for command in commands] == [
        "run-ablation dilation_group",
        "pytest",
    ]
    assert all("pip install -q -c constraints.txt -e" in command for command in commands)


def test_the_table_is_the_one_that_was_printed() -> None:
    """Byte for byte what the command wrote into results/.

    Running the command rewrites results/ with another commit and device; then the committed table
    counts.
    """
    path = "results/dilation_group/quick/table.md"
    shown = README.partition("table.md -->\n")[2].partition("<!-- end of table")[0]
    committed = subprocess.run(
        ["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    written = ((ROOT / path).read_text(encoding="utf-8"), committed)

    assert shown.strip() in [text.partition("\n\n")[2].strip() for text in written]


def test_the_python_example_uses_functions_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls must fit the signatures; committed results stand in for training."""
    example, *_ = find_examples("python")
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
    *_, example = find_examples("python")
    monkeypatch.chdir(tmp_path)
    torch.save(timm.create_model("seresnext50_32x4d").state_dict(), "seresnext50_32x4d.pth")
    names: dict[str, object] = {}

    exec(example, names)

    assert f"names all {len(list_models())}" in example
    weights = names["weights"]["SK_3_4"]  # type: ignore[index]
    assert weights.shape == (1, 2, 256)


def test_the_yaml_example_is_valid(tmp_path: Path) -> None:
    """It can be copied as it is."""
    example, _ = find_examples("yaml")
    path = tmp_path / "experiments.yaml"
    path.write_text(example)

    config = read_config(path)

    assert yaml.safe_load(example)["experiments"].keys() == config.experiments.keys()


def test_the_example_of_a_user_module_runs(
    command: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As printed, but on fewer images and for fewer epochs."""
    _, module, _ = find_examples("python")
    _, experiments = find_examples("yaml")
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_modules.py").write_text(module)
    (tmp_path / "experiments.yaml").write_text(
        experiments.replace("multiscale_digits", "synthetic").replace(
            "batch_size: 64", "batch_size: 16"
        )
    )

    answer = command(
        "run-ablation", "mine", "--recipe", "short", "--backend", "local", "--tracking-uri", "off"
    )

    assert answer.code == 0
    assert "12 of 12 finished" in answer.out
    assert "Separable(kernel=5)" in answer.out
