"""Pages of the site that follow from the code and the results, so that they cannot drift from them.

MkDocs calls the functions that start with `on_`. Pages of the repository's root become pages of the
site; what people read in results/ is copied. In any page, `<!-- fields: package.module.Class -->`
becomes a table of the fields of that class, and `<!-- commands -->` all commands with options.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import griffe
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import TypeAdapter
from typer.cli import get_docs_for_click
from typer.main import get_command

ROOT = Path(__file__).parents[1]

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
"""Pages of the repository's root, and their names on the site."""

SHOWN = ("*.md", "*.html", "*.svg", "*.csv", "*.json")
"""Files of results/ that the site has."""

BOUNDS = {
    "exclusiveMinimum": "> {}",
    "minimum": "≥ {}",
    "exclusiveMaximum": "< {}",
    "maximum": "≤ {}",
}
"""Constraints of a JSON schema, as people read them."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the root, and the results."""
    for source, target in PAGES.items():
        text = move_links((ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, target, content=text))
    for pattern in SHOWN:
        for path in sorted((ROOT / "results").rglob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fills the places that are generated from the code; the root is inside docs/ on the site."""
    for source, target in {"results/": "results/", **PAGES}.items():
        markdown = re.sub(rf"\]\(((?:\.\./)*)\.\./{re.escape(source)}", rf"](\1{target}", markdown)
    markdown = re.sub(
        r"<!-- fields: (\S+) -->", lambda found: render_fields(find_class(found[1])), markdown
    )
    return markdown.replace("<!-- commands -->", render_commands())


def move_links(text: str) -> str:
    """Makes the links of a page at the root relative to docs/.

    >>> move_links("[a](docs/how-to/a.md), [b](CONTRIBUTING.md), [c](results/x.svg)")
    '[a](how-to/a.md), [b](contributing.md), [c](results/x.svg)'
    """
    text = re.sub(r"(\]\(|src=\"|href=\")docs/", r"\1", text)
    for source, target in PAGES.items():
        text = text.replace(f"]({source}", f"]({target}")
    return re.sub(
        r"\[([^\]]*)\]\((?:CITATION\.cff|examples/[^)]*)\)", r"\1", text
    )  # not on the site


def find_class(path: str) -> type:
    """The class of a dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)  # type: ignore[no-any-return]


def render_fields(cls: type) -> str:
    """Renders the fields of a class as a table: key, kind of value, default, meaning."""
    schema = TypeAdapter(cls).json_schema()
    required = set(schema.get("required", ()))
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, field in schema["properties"].items():
        default = "required" if name in required else describe_default(field.get("default"))
        meaning = " ".join(find_descriptions(cls)[name].split()).replace("None", "`null`")
        lines.append(f"| `{name}` | {describe_value(field)} | {default} | {meaning} |")
    return "\n".join(lines)


def describe_value(schema: Mapping[str, Any]) -> str:
    """Says in words what a JSON schema accepts.

    >>> describe_value({"type": "array", "items": {"type": "integer", "minimum": 0}})
    'list of integer ≥ 0'
    """
    if "anyOf" in schema:
        kinds = (describe_value(kind) for kind in schema["anyOf"] if kind.get("type") != "null")
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in schema:
        return f"mapping ({schema['$ref'].rpartition('/')[2]})"
    if choices := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{choice}`" for choice in choices)
    return describe_type(schema)


def describe_type(schema: Mapping[str, Any]) -> str:
    """Says in words what type of value a JSON schema accepts, and within which bounds."""
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("items") or {"anyOf": schema.get("prefixItems", [{}])}
        return f"list of {describe_value(items)}"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"mapping of {describe_value(values)}" if isinstance(values, dict) else "mapping"
    names = {"string": "text", "boolean": "`true`, `false`", None: "anything"}
    bounds = [text.format(f"{schema[key]:g}") for key, text in BOUNDS.items() if key in schema]
    return " ".join([names.get(kind, str(kind)), ", ".join(bounds)]).strip()


def describe_default(default: Any) -> str:
    """Shows a default as YAML; nothing if there is none, or a mapping with fields of its own."""
    if default in (None, "", []) or isinstance(default, dict):
        return "–"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


@cache
def find_descriptions(cls: type) -> Mapping[str, str]:
    """The docstrings of a class's fields, by name, with those that it inherits."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.split(".")[0] in ("ablations", "sknet"):
            for name, member in load_module(base.__module__)[base.__name__].members.items():
                if member.is_attribute and member.docstring:
                    found[name] = member.docstring.value
    return found


@cache
def load_module(path: str) -> Any:
    """The source of a module, parsed."""
    return griffe.load(path)


def render_commands() -> str:
    """Renders every command with its arguments and options."""
    from ablations.cli.app import app

    command = get_command(app)
    page = get_docs_for_click(obj=command, ctx=typer.Context(command), name="ablations")
    return re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+", "", page)  # the contents list them too
