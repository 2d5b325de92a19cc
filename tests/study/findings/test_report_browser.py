"""The report in a real browser: sliders, sorting, both themes, a phone, hostile names."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchfront.study.cli.main import main

from .browser import CHROMIUM, NEEDS_BROWSER

pytestmark = NEEDS_BROWSER
NAME = "<img src=x onerror=alert(1)><b>bold</b>"
RUN = ("run", "--task", "digits", "--epochs", "5", "--batch-sizes", "16:256", "--n-trials", "14")


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(workdir, recorded, chromium):
    """Opens the report with options of the browser; a script's error or a dialog fails the test."""
    recorded(workdir, *RUN, "--study-name", NAME)
    assert main(["report", "-o", "page.html"]) == 0
    wrong: list[str] = []

    def open_page(**options):
        page = chromium.new_page(**options)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.goto(f"file://{Path('page.html').resolve()}")
        page.locator(".figure .main-svg").first.wait_for()
        return page

    yield open_page
    assert wrong == []


def test_sliders_change_what_qualifies_and_what_is_best(opened):
    page = opened()
    chosen, sizes = page.locator(".chosen"), page.locator(".sizes li")
    recommended = page.locator(".tiles dd").first.inner_text()
    assert chosen.inner_text().startswith(f"Batch size {recommended} at learning rate ")
    assert page.locator(".sizes .out").count() == 0
    page.locator("input[data-name=peak_memory_bytes]").fill("0")
    left = sizes.count() - page.locator(".sizes .out").count()
    assert 0 < left < sizes.count()
    page.locator("input[data-name=train_seconds]").fill("0")
    assert chosen.inner_text() == "No batch size meets all of these limits."
    page.locator("input[data-name=peak_memory_bytes]").fill("100")
    best = page.locator(".sizes .best").inner_text()
    assert chosen.inner_text().startswith(f"Batch size {best} at")
    assert page.locator(".sizes .out").count() == sizes.count() - 1, "the fastest one alone is left"


def test_a_click_on_a_heading_sorts_the_front(opened):
    page = opened()
    button = page.locator("th button", has_text="batch size")
    cells = page.locator("tbody td:nth-child(2)")
    for rising in (True, False):
        button.click()
        shown = [int(text) for text in cells.all_inner_texts()]
        assert shown == sorted(shown, reverse=not rising)


def test_figures_and_page_follow_the_theme(opened):
    page = opened(color_scheme="dark")
    for scheme, is_dark in (("dark", True), ("light", False)):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(300)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = page.evaluate("getComputedStyle(document.querySelector('.xtick text')).fill")
        assert (_brightness(paper) < 100) == is_dark
        assert (_brightness(ink) > 150) == is_dark


def _brightness(color: str) -> float:
    parts = color.removeprefix("rgba(").removeprefix("rgb(").rstrip(")").split(",")[:3]
    return sum(map(float, parts)) / 3


def test_nothing_scrolls_sideways_on_a_phone(opened):
    page = opened(viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for figure in page.locator(".figure .svg-container").all():
        box = figure.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390


def test_bars_have_one_scale_and_axes_keep_clear_of_each_other_on_a_phone(opened):
    page = opened(viewport={"width": 390, "height": 800})
    rooms = [bar.bounding_box() for bar in page.locator(".bars .bar").all()]
    assert len({(room["x"], room["width"]) for room in rooms}) == 1
    assert rooms[0]["width"] > 150
    for bar in page.locator(".bars .bar span").all():
        share = bar.evaluate("one => parseFloat(one.style.width) / 100")
        assert bar.bounding_box()["width"] == pytest.approx(
            max(1, share * rooms[0]["width"]), abs=1
        )
    for figure in page.locator(".figure").all():
        titles = figure.locator(".g-xtitle, .g-x2title, .g-x3title, .g-x4title, .legend").all()
        boxes = [one.bounding_box() for one in titles if one.bounding_box() is not None]
        for n, one in enumerate(boxes):
            assert not any(_overlap(one, other) for other in boxes[n + 1 :])
    for title in page.locator(".colorbar .cbtitle").all():
        box = title.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def _overlap(one: dict, other: dict) -> bool:
    return all(
        one[at] < other[at] + other[size] - 1 and other[at] < one[at] + one[size] - 1
        for at, size in (("x", "width"), ("y", "height"))
    )


def test_a_name_with_html_in_it_is_shown_as_it_is(opened):
    page = opened()
    assert page.locator("h1").inner_text() == NAME
    assert page.locator("h1 b, img").count() == 0


def test_a_second_study_beside_it_fits_a_phone_and_both_are_marked(opened):
    other = ("run", "--task", "planted.py", "--epochs", "2", "--n-trials", "6")
    assert main([*other, "--batch-sizes", "16:64", "--study-name", "<i>two"]) == 0
    assert main(["report", "--study-name", NAME, "--compare", "<i>two", "-o", "page.html"]) == 0
    page = opened(viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("h2", has_text="Beside it").inner_text() == "Beside it: <i>two"
    marks = page.locator(".figure").first.locator("text", has_text="train with")
    assert marks.count() == 2
    boxes = [mark.bounding_box() for mark in marks.all()]
    assert abs(boxes[0]["y"] - boxes[1]["y"]) > 8, "one above the other"
