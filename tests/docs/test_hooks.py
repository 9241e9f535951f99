"""The reference pages are complete, since they are generated from the code."""

import re
import sys
from typing import Any

import pytest
from conftest import ROOT
from typer.main import get_command

from ablations.cli.app import app
from ablations.config import (
    Budget,
    Claim,
    Experiment,
    Recipe,
    VariantSettings,
)
from sknet.spec import ATTENTIONS, FAMILIES, Branch, Stem

pytest.importorskip("mkdocs", reason="needs the extra `docs`")
sys.path.insert(0, str(ROOT / "docs"))

import hooks

CLASSES: list[Any] = [
    *(Experiment, VariantSettings, Budget, Claim, Recipe),
    *(Branch, Stem, *ATTENTIONS.values(), *FAMILIES.values()),
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_key_of_the_yaml_is_explained(cls: Any) -> None:
    """The page has a table for its class, with a meaning for each key."""
    page = (ROOT / "docs/reference/experiments.md").read_text(encoding="utf-8")
    tags = re.findall(r"<!-- fields: (\S+) -->", page)

    rows = hooks.render_fields(cls).splitlines()[2:]

    assert cls in [hooks.find_class(tag) for tag in tags]
    assert all(row.rstrip("| ").count(" | ") == 3 for row in rows)


def test_every_option_of_every_command_is_explained() -> None:
    """A command that is not documented cannot be found."""
    page = hooks.render_commands()
    commands = get_command(app).commands  # type: ignore[attr-defined]
    options = [option for command in commands.values() for option in command.params]

    assert [name for name in commands if f"`ablations {name}`" not in page] == []
    assert [option.name for option in options if not getattr(option, "help", "")] == []


def test_values_are_described_in_words() -> None:
    """A JSON schema is for programs."""
    rows = {row.split("`")[1]: row for row in hooks.render_fields(Recipe).splitlines()[2:]}

    assert "| number ≥ 0, < 1 | `0.9` |" in rows["momentum"]
    assert "| `cosine`, `step` | required |" in rows["schedule"]
    assert "| list of integer > 0 | – |" in rows["step_epochs"]


@pytest.mark.parametrize(
    ("link", "moved"),
    [
        ("[a](docs/how-to/a.md)", "[a](how-to/a.md)"),
        ("[b](CONTRIBUTING.md)", "[b](contributing.md)"),
        ("![c](results/x.svg)", "![c](results/x.svg)"),
    ],
)
def test_links_of_the_root_lead_to_the_same_page_on_the_site(link: str, moved: str) -> None:
    """README is the home page there."""
    assert hooks.move_links(link) == moved
