"""MLflow's UI as a person meets it: the run table, means by variant, the compare page, the files.

`pytest -m browser` runs it, with Chromium and the extra `browser`; ABLATIONS_SCREENSHOTS names the
folder that keeps the screenshots.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer

from ablations.study.export import read_export
from ablations.tables import Table, build_table

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore"),  # MLflow's and Playwright's own
]

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 60_000


@pytest.fixture
def table(command: Callable[..., Answer], tmp_path: Path) -> Table:
    """The comparison table of a trained experiment, whose runs and files are in the store."""
    path = tmp_path / "experiments.yaml"
    path.write_text(path.read_text().replace("epochs: 2", "epochs: 15"))  # so that errors differ
    assert command("run-ablation", "kernels", "--backend", "local").code == 0
    return build_table(read_export(tmp_path / "results" / "kernels" / "quick"))


@pytest.fixture
def address(table: Table, tmp_path: Path) -> Iterator[str]:
    """Where `ablations ui` serves the store."""
    assert len(table.rows) == 2
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = "from ablations.cli import main; main()"
    server = subprocess.Popen(
        [sys.executable, "-c", program, "ui", "--port", str(port)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=60)


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium on the PATH, as from `apt-get install chromium`")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        opened = browser.new_page(viewport={"width": 2300, "height": 1000})
        opened.set_default_timeout(PATIENCE_MS)
        yield opened
        browser.close()


@pytest.fixture
def shoot(page: Any, tmp_path: Path) -> Callable[[str], None]:
    """Keeps what the page shows."""
    folder = Path(os.environ.get("ABLATIONS_SCREENSHOTS") or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)

    def keep(name: str) -> None:
        page.wait_for_timeout(1500)  # what moves comes to rest
        page.screenshot(path=folder / f"{name}.png")

    return keep


def wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    """Returns when the server answers."""
    for _ in range(240):
        assert server.poll() is None
        try:
            urllib.request.urlopen(url, timeout=2)
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"{url} never answered")


def open_view(page: Any, name: str) -> None:
    """Picks a view from the menu."""
    page.get_by_test_id("saved-views-trigger").click()
    page.get_by_role("menuitem", name=name).click()


def read_rows(page: Any) -> dict[str, str]:
    """The texts of the run table's rows by id; the grid keeps each row in two parts."""
    parts = page.eval_on_selector_all(
        ".ag-row", "rows => rows.map(row => [row.getAttribute('row-id'), row.innerText])"
    )
    rows: dict[str, str] = {}
    for key, text in parts:
        rows[key] = f"{rows.get(key, '')}\n{text}"
    return rows


def test_experiments_are_compared_in_the_browser(
    table: Table, address: str, page: Any, shoot: Callable[[str], None]
) -> None:
    """From the list of experiments to the comparison's files, by clicks alone."""
    page.goto(f"{address}/#/experiments")
    page.get_by_role("link", name="kernels", exact=True).wait_for()
    page.get_by_text("Model training").first.click()  # not chat models, which come first
    page.get_by_role("link", name="kernels", exact=True).wait_for()
    shoot("experiments")
    page.get_by_role("link", name="kernels", exact=True).click()

    open_view(page, "quick: one run for each trial")
    page.get_by_text("3x3, D=1, G=32, seed 2").wait_for()
    close = page.get_by_label("Close").first  # of a panel that takes a third of the page
    if close.is_visible():
        close.click()
    shoot("runs")
    headings = page.eval_on_selector_all(
        ".ag-header-cell", "cells => cells.map(cell => cell.getAttribute('col-id'))"
    )
    wanted = ("variant", "seed", "kernels", "D", "G", "M", "attention", "r", "L")
    assert {f"params.`{name}`" for name in wanted} <= set(headings)
    assert {
        "metrics.`final/top1_error`",
        "metrics.`paper_scale/GFLOPs`",
        "metrics.`network/params`",
    } <= set(headings)
    assert len(read_rows(page)) == 6

    page.locator(".ag-header-select-all:not(.ag-hidden) input").first.click()
    page.get_by_test_id("runs-compare-button").click()
    page.get_by_text("Comparing 6 Runs from 1 Experiment").wait_for()
    page.get_by_text("Show diff only").first.click()  # of the parameters
    page.get_by_text("Show diff only").first.scroll_into_view_if_needed()
    shoot("compare")
    shown = page.locator("body").inner_text()
    assert "\nD\t1\t1\t1\t2\t2\t2\n" in shown
    assert "\nattention\t" not in shown
    page.go_back()

    open_view(page, "quick: mean error of each variant")
    page.get_by_text("Group: 3x3, D=2, G=32").wait_for()
    shoot("variants")
    rows = read_rows(page)
    assert table.rows["top1_error"].nunique() == len(table.rows)
    assert rows.keys() == {f"param.variant.{name}" for name in table.rows.index}
    for name, error in table.rows["top1_error"].items():
        found = re.search(r"([\d.]+) \(average\)", rows[f"param.variant.{name}"])
        assert found is not None
        assert float(found[1]) == pytest.approx(error, abs=1e-6)

    page.get_by_role("button", name="Exit shared view").click()
    page.get_by_role("link", name=re.compile("kernels, quick")).click()
    page.get_by_text("trials/finished").wait_for()
    shoot("parent")
    page.get_by_role("tab", name="Artifacts").click()
    for name in ("table.json", "table.csv", "report.html", "figures"):
        page.get_by_text(name, exact=True).wait_for()
    page.get_by_text("figures", exact=True).click()
    page.get_by_text("errors.png").wait_for()
    page.get_by_text("table.json", exact=True).click()
    page.get_by_text("quick: verdict").wait_for()
    shoot("artifacts")
