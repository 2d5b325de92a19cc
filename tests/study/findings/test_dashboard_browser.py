"""optuna-dashboard in a real browser, on a study with stopped trials."""

from __future__ import annotations

import re
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from batchfront.study.cli.main import main

from ..conftest import ROOT, spawn
from .browser import CHROMIUM, NEEDS_BROWSER

ARTIFACTS = ROOT / "tests" / "artifacts"

pytestmark = NEEDS_BROWSER


@pytest.fixture
def dashboard(workdir: Path, dashboard_figures: None):
    """The address of `batchfront dashboard` on a study with pruned trials."""
    argv = ["run", "--task", "digits", "--batch-sizes", "16:512", "--epochs", "5"]
    assert main([*argv, "--n-trials", "14", "--seed", "1", "--sampler", "random"]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = spawn("dashboard", "--port", str(port), cwd=workdir)
    try:
        _wait_until_up(f"http://127.0.0.1:{port}/api/meta")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def _wait_until_up(address: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"{address} did not answer")


def best_trials() -> set[int]:
    """What Optuna itself holds for the front of the only study here."""
    import optuna

    storage = "sqlite:///runs/batchfront.db"
    (name,) = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    return {trial.number for trial in study.best_trials}


def test_the_dashboard_shows_front_names_note_and_figure(dashboard, rows):
    from playwright.sync_api import sync_playwright

    exported = rows("export")
    stopped = {r["number"] for r in exported if r["state"] == "PRUNED"}
    front = {r["number"] for r in rows("front")}
    assert stopped
    assert front
    ARTIFACTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.goto(f"{dashboard}/dashboard/studies/1")
        page.get_by_text("Best Trials").wait_for()
        page.get_by_text("What a batch size buys", exact=True).first.wait_for()  # our figure
        best = page.inner_text("body").partition("Best Trials")[2]
        page.screenshot(path=ARTIFACTS / "dashboard.png", full_page=True)
        page.goto(f"{dashboard}/dashboard/studies/1/note")
        page.get_by_text("How to read it").wait_for()
        page.screenshot(path=ARTIFACTS / "dashboard-note.png")
        note = page.inner_text("body")
        page.goto(f"{dashboard}/dashboard/studies/1")
        page.get_by_text("Objective X").first.wait_for()
        text = page.inner_text("body")
        browser.close()

    shown = {int(n) for n in re.findall(r"Trial (\d+)\s+(?:\[|Objective)", best)}
    assert shown == best_trials(), "Best Trials is Optuna's front, exact to the last digit"
    assert shown >= front, "ours leaves out what is no better than the noise of a measurement"
    assert not shown & stopped, "no stopped trial is shown as best"
    assert "val_accuracy" in text
    assert "train_seconds" in text
    assert "What a batch size buys" in text, "our figure, by its title"
    assert re.search("(Train with batch size|No recommendation yet)", note), (
        "the answer comes first"
    )
    assert "task digits" in note.lower()
    assert "batch size 16..512" in note
