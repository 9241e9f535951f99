"""Examples in docstrings run in an empty folder, so that they leave nothing in the repository."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _run_examples_elsewhere(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(tmp_path)
