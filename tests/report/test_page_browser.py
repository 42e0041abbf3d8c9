"""The HTML page in headless Chromium: no error, no request, accessible, nothing too wide, everything by keyboard."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glue_bench.cli.report import render_html
from glue_bench.report.model import CARD_TASKS
from glue_bench.report.table import build_report
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import load_published
from tests.support.making import DISTILROBERTA, ROBERTA, make_record
from tests.support.making_results import write_run
from tests.support.pages import hostile_record, render_folder

pytestmark = pytest.mark.page

LIMIT = 3_000_000  # bytes of the card's page: eight tasks, two encoders, five seeds
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FOCUSABLE = "a[href], summary, input:checked, [tabindex='0']"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start headless Chromium: the one in CHROMIUM, or on PATH."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the extra `page`")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium on PATH, and none named by CHROMIUM")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def card_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page of the card's eight tasks with two encoders, five seeds and histories of full length."""
    folder = tmp_path_factory.mktemp("card")
    updates = {"mnli": 3600, "qqp": 3400, "qnli": 1000, "sst2": 600}
    for encoder, skill in ((DISTILROBERTA, 2.6), (ROBERTA, 3.2)):
        facts = {**encoder, "parameters": 82_118_400, "weights_sha256": "ab" * 32}
        for task in CARD_TASKS:
            for seed in (1, 2, 3, 4, 5):
                setting = f"{encoder['name'][0]}{task}"
                lines = updates.get(task, 200)
                common: dict[str, Any] = {"task": task, "seed": seed, "setting": setting, "encoder": facts}
                write_run(folder / "results", skill=skill, lines=lines, device="NVIDIA H100", **common)
    RunStore(folder / "results").save(
        make_record(task="rte", seed=6, setting="rrte", status="diverged", precision="", encoder=ROBERTA)
    )
    path = folder / "report.html"
    path.write_text(render_folder(folder / "results"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page of a run with traps in every name and text."""
    folder = tmp_path_factory.mktemp("hostile")
    record = hostile_record(folder)
    store = RunStore(folder / "results")
    path = folder / "report.html"
    published = load_published()
    report = build_report([record], published=published, store=store)
    path.write_text(render_html(report, [record], published=published, store=store), encoding="utf-8")
    return path


@pytest.fixture(params=["card_page", "hostile_page"])
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def open_page(browser: Any, path: Path, *, width: int = 1400, dark: bool = False) -> tuple[Any, list[str], list[str]]:
    """Return the page, the console's messages, and every request except for the file itself."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    logged, asked = list[str](), list[str]()
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))

    def guard(route: Any) -> None:
        if route.request.url == path.as_uri():
            route.continue_()
        else:
            asked.append(route.request.url)
            route.abort()

    page.route("**/*", guard)
    page.goto(path.as_uri())
    return page, logged, asked


def open_all(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")


def test_the_page_logs_nothing_and_makes_no_request(browser: Any, path: Path) -> None:
    page, logged, asked = open_page(browser, path)
    open_all(page)
    page.keyboard.press("End")
    page.wait_for_timeout(200)
    assert (logged, asked) == ([], [])
    page.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1400, 360])
def test_axe_finds_no_violation(browser: Any, path: Path, width: int, dark: bool) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra `page`")
    page, _, _ = open_page(browser, path, width=width, dark=dark)
    open_all(page)
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in found] == []
    page.close()


@pytest.mark.parametrize("width", [1400, 768, 360])
def test_nothing_is_wider_than_the_window(browser: Any, path: Path, width: int) -> None:
    page, _, _ = open_page(browser, path, width=width)
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.parametrize("reasons", [(), ("a subset",)], ids=["judged", "not comparable"])
def test_eight_tasks_and_their_mean_fit_without_scrolling(
    browser: Any, tmp_path: Path, reasons: tuple[str, ...]
) -> None:
    for encoder in (DISTILROBERTA, ROBERTA):
        for task in CARD_TASKS:
            for seed in (1, 2):
                write_run(tmp_path, task=task, seed=seed, setting=task, encoder=encoder, reasons=reasons, lines=2)
    path = tmp_path / "report.html"
    path.write_text(render_folder(tmp_path), encoding="utf-8")
    page, _, _ = open_page(browser, path)
    region = page.locator(".scroll", has=page.locator("table.headline"))
    assert region.locator("thead th").count() == 10
    assert region.locator(".chip").count() == 16
    assert region.evaluate("one => one.scrollWidth <= one.clientWidth")
    page.close()


def test_the_tab_key_reaches_every_control_and_every_table_in_order(browser: Any, path: Path) -> None:
    page, _, _ = open_page(browser, path)
    every = f"[...document.querySelectorAll(`{FOCUSABLE}`)]"
    page.evaluate(f"{every}.forEach((one, place) => one.dataset.place = place)")
    visible = page.evaluate(f"{every}.filter(one => one.checkVisibility()).map(one => one.dataset.place)")
    reached = []
    for _ in visible:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.dataset.place"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert reached == visible
    page.close()


def test_the_skip_link_leads_to_the_scores_and_a_key_opens_the_numbers(browser: Any, card_page: Path) -> None:
    page, _, _ = open_page(browser, card_page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('details').open")
    page.close()


def test_the_reader_can_choose_light_or_dark_and_paper_is_light(browser: Any, card_page: Path) -> None:
    page, _, _ = open_page(browser, card_page, dark=True)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.locator("#theme-light").check()
    light = page.evaluate(ground)
    assert light != dark
    page.locator("#theme-dark").check()
    assert page.evaluate(ground) == dark
    page.emulate_media(media="print")
    assert page.evaluate(ground) == light
    assert not page.locator("nav").is_visible()
    assert page.locator(".origin dl").first.is_visible()
    page.close()


def test_the_page_of_the_whole_card_stays_small(card_page: Path) -> None:
    assert card_page.stat().st_size < LIMIT
