"""Imports go one way, and each third-party service has one owner."""

import ast
from collections.abc import Iterator

import pytest
from conftest import ROOT

ORDER = (
    *("choices", "errors", "escapes", "files", "workspace", "formatting", "user_code", "data"),
    *("config", "matrix", "plans"),
    *("complexity", "trial", "backends", "ledger", "speed", "evaluations", "estimate"),
    *(
        "study",
        "statistics",
        "attention",
        "tables",
        "figures",
        "tracking",
        "report",
        "reconcile",
        "cli",
        "door",
        "__init__",
    ),
)
"""Modules and packages of `ablations`; each imports only what is listed before it."""

OWNERS = {
    "yaml": {"config"},
    "ray": {"backends"},
    "mlflow": {"tracking"},
    "fvcore": {"complexity"},
    "typer": {"cli"},
    "sklearn": {"data"},
    "matplotlib": {"figures"},
    "jinja2": {"report"},
}
"""The only packages that may import a third-party service."""


def module_of(path: str) -> str:
    """`ablations/data/batches.py` belongs to `data`."""
    return path.removeprefix("ablations/").split("/")[0].removesuffix(".py")


def iterate_imports(package: str) -> Iterator[tuple[str, str]]:
    """Yields each file of a package with each module that it imports, except for type checking."""
    for path in sorted((ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typing_only = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if node in typing_only:
                continue
            if isinstance(node, ast.ImportFrom) and node.module:
                yield path.relative_to(ROOT).as_posix(), node.module
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    yield path.relative_to(ROOT).as_posix(), alias.name


ABLATIONS = sorted(set(iterate_imports("ablations")))
SKNET = sorted(set(iterate_imports("sknet")))


def test_every_module_is_in_the_order() -> None:
    """A new module must be added to the order."""
    modules = {module_of(path) for path, _ in ABLATIONS}

    assert modules <= set(ORDER)


@pytest.mark.parametrize(("path", "imported"), [p for p in ABLATIONS if "ablations." in p[1]])
def test_imports_go_one_way(path: str, imported: str) -> None:
    """A module never imports one that comes later."""
    own, other = module_of(path), module_of(imported.replace(".", "/"))

    assert own == other or ORDER.index(other) < ORDER.index(own)


def test_sknet_does_not_import_the_runner() -> None:
    """`sknet` is useful alone."""
    outside = {name.split(".")[0] for _, name in SKNET} - {"sknet", "torch"}

    assert not outside & {"ablations", "pydantic", *OWNERS}


def test_only_the_kernels_need_numba() -> None:
    """Without it, networks compute by their readable definitions."""
    assert {path for path, name in SKNET if name == "numba"} == {"sknet/kernels.py"}


@pytest.mark.parametrize("service", OWNERS)
def test_each_service_has_one_owner(service: str) -> None:
    """What the next version of a service may break is in one place."""
    users = {module_of(path) for path, name in ABLATIONS if name.split(".")[0] == service}

    assert users == OWNERS[service]


def test_only_the_command_line_prints() -> None:
    """Everything else returns values, or logs."""
    printing = [
        path.name
        for path in (ROOT / "ablations").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]

    assert printing == []
