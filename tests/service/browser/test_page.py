"""The page in a real browser: asking, streaming, sources, abstention, errors, stopping, keyboard, phone and dark.

With ``DOMAINQA_SCREENSHOTS`` set to a folder, each test leaves pictures there.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402

from rag.errors import EngineBusyError, EngineFaultError  # noqa: E402
from rag.types import EvidencePacked, TextDelta  # noqa: E402

pytestmark = pytest.mark.browser
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
QUESTION = "Which torque for the casing bolts of the ZP-40/2?"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no Chromium at {CHROMIUM}")
    with sync_playwright() as runner:
        launched = runner.chromium.launch(executable_path=str(CHROMIUM), headless=True, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens the page; fails when it calls on another address or anything goes wrong in its console."""
    contexts = []
    complaints: list[str] = []
    allowed: list[str] = []

    def make(url: str, *, expected: str = "", **options: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        allowed.append(expected)
        page = context.new_page()
        page.on("request", lambda request: request.url.startswith(url) or complaints.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        page.goto(f"{url}/")
        expect(page.locator("#strategy option")).not_to_have_count(0)
        return page

    yield make
    for context in contexts:
        context.close()
    assert [each for each in complaints if not any(word and word in each for word in allowed)] == []


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    folder = os.environ.get("DOMAINQA_SCREENSHOTS")

    def take(page: Page, name: str) -> None:
        if folder:
            page.screenshot(path=Path(folder) / f"{request.node.name}-{name}.png")

    return take


def ask(page: Page, text: str = QUESTION) -> None:
    page.get_by_label("Your question").fill(text)
    page.keyboard.press("Enter")


def finished(page: Page) -> None:
    expect(page.locator("article").last).to_have_attribute("aria-busy", "false")


def test_an_answer_streams_in_and_its_source_opens_at_the_passage(running, scripts, open_page, picture):
    library = scripts.library(scripts.steps_of(scripts.cited, pause_s=0.15))
    with running(library) as url:
        page = open_page(url)
        picture(page, "empty")
        ask(page)
        text = page.locator("article .text")
        expect(text).to_contain_text("The torque")
        assert page.locator("article").get_attribute("aria-busy") == "true"
        assert "blue" not in text.inner_text(), "shown before it was complete"
        picture(page, "streaming")
        finished(page)
        assert text.inner_text() == "𝔗 The torque is 42 Nm 1. It is painted blue 1."
        expect(page.get_by_role("status")).to_have_text("Answer complete, 2 sources.")
        picture(page, "answer")

        marker = page.locator(".marker").first
        expect(marker).to_have_accessible_name("Source 1: ZP-40 manual, page 1")
        marker.click()
        panel = page.get_by_role("complementary")
        expect(panel.locator("mark")).to_have_text(scripts.passage)
        expect(panel.locator("mark")).to_be_in_viewport()
        expect(panel.get_by_role("heading")).to_have_text("ZP-40 manual")
        expect(panel).to_contain_text("pumps/zp-40.md · page 1")
        expect(panel.locator("#panel-heading")).to_have_text("Maintenance")
        expect(panel.locator("#panel-note")).to_be_hidden()
        assert panel.locator(".prose strong").all_inner_texts() == ["# Maintenance", "## Storage"]
        assert "<script>document.title" in panel.locator(".prose").inner_text(), "markup is shown as text"
        assert page.title() == "domainqa"
        picture(page, "source")

        panel.get_by_role("button", name="Show later text").click()
        expect(panel.locator(".prose")).to_contain_text("Line 70 ")
        expect(panel.locator("mark")).to_have_text(scripts.passage)

        page.keyboard.press("Escape")
        expect(panel).to_be_hidden()
        expect(marker).to_be_focused()
    [question] = library.answerer.asked
    assert (question.text, question.strategy, question.collection) == (QUESTION, "rag", "default")


def test_unsupported_sentences_are_marked(running, scripts, open_page):
    with running(scripts.library()) as url:
        page = open_page(url)
        ask(page)
        finished(page)
        doubtful = page.locator(".doubtful")
        assert "".join(doubtful.all_inner_texts()) == "It is painted blue ."
        expect(page.locator(".marker.unsupported")).to_have_accessible_name(
            "Source 1: ZP-40 manual, page 1 (does not support this sentence)"
        )
        expect(page.locator("article .note")).to_contain_text("not supported by the documents")


def test_a_source_found_afterwards_is_put_behind_its_sentence(running, scripts, open_page):
    text = "The torque is 42 Nm. Mind it."
    citation = replace(scripts.cited.citations[0], attributed=True, answer_start=0, answer_end=20)
    answer = replace(scripts.cited, text=text, citations=(citation,), supported=True)
    with running(scripts.library(scripts.steps_of(answer))) as url:
        page = open_page(url)
        ask(page)
        finished(page)
        assert page.locator("article .text").inner_text() == "The torque is 42 Nm.1 Mind it."
        expect(page.locator(".sources")).to_contain_text("found afterwards")
        expect(page.locator("article .note")).to_have_count(0)


def test_a_fallback_says_what_it_is(running, scripts, open_page, picture):
    answer = replace(scripts.cited, fallback="not supported", supported=True, citations=scripts.cited.citations[:1])
    with running(scripts.library(scripts.steps_of(answer))) as url:
        page = open_page(url)
        ask(page)
        finished(page)
        expect(page.locator("article .note")).to_have_text(
            "Verbatim sentences from the documents, because the model’s own answer wasn’t supported by them."
        )
        picture(page, "fallback")


def test_sources_that_disagree_are_told(running, scripts, open_page):
    answer = replace(scripts.cited, conflicts=(scripts.conflict,))
    with running(scripts.library(scripts.steps_of(answer))) as url:
        page = open_page(url)
        ask(page)
        expect(page.locator(".note.conflict")).to_have_text(scripts.conflict.note)


def test_an_abstention_is_explained_and_names_the_nearest_documents(running, scripts, open_page, picture):
    with running(scripts.library(scripts.steps_of(scripts.abstained))) as url:
        page = open_page(url)
        ask(page, "Who won the cup?")
        finished(page)
        assert page.locator("article .text").inner_text() == "The documents don't say. The nearest documents are:"
        expect(page.locator("article .note")).to_contain_text("Nothing in this collection answers")
        picture(page, "abstained")
        page.get_by_role("button", name="ZP-40 manual").click()
        panel = page.get_by_role("complementary")
        expect(panel.locator(".prose")).to_contain_text("Gear pump")
        expect(panel.locator("mark")).to_have_count(0)


def test_errors_are_told_in_words_and_can_be_tried_again(running, scripts, open_page, picture):
    scripted = (
        [EngineBusyError("all 16 places are taken", 3)],
        [EvidencePacked(()), TextDelta("The torque"), EngineFaultError("the engine stopped")],
        scripts.steps_of(scripts.cited),
    )
    with running(scripts.library(*scripted)) as url:
        page = open_page(url, expected="429")
        ask(page)
        finished(page)
        expect(page.get_by_role("alert")).to_contain_text("The service is busy: all 16 places are taken.")
        picture(page, "busy")
        page.get_by_role("button", name="Ask again").click()
        expect(page.locator("article")).to_have_count(2)
        finished(page)
        expect(page.locator("article").last).to_contain_text("The engine stopped.")
        assert page.locator("article .text").last.inner_text() == "The torque"
        page.get_by_role("button", name="Ask again").last.click()
        expect(page.locator(".sources")).to_be_visible()


def test_a_service_that_is_gone_is_told(running, scripts, open_page):
    with running(scripts.library()) as url:
        page = open_page(url, expected="ERR_CONNECTION_REFUSED")
    ask(page)
    finished(page)
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")


def test_stop_ends_the_answer_here_and_there(running, scripts, open_page, picture):
    library = scripts.library([EvidencePacked(()), TextDelta("The torque is "), 60.0])
    with running(library) as url:
        page = open_page(url)
        ask(page)
        expect(page.locator("article .text")).to_have_text("The torque is")
        page.get_by_role("button", name="Stop the answer").click()
        finished(page)
        expect(page.locator("article .note")).to_contain_text("You stopped this answer")
        expect(page.get_by_label("Your question")).to_be_focused()
        picture(page, "stopped")
        page.wait_for_function("() => true")
        for _ in range(100):
            if library.answerer.running == 0:
                break
            page.wait_for_timeout(20)
        assert (library.answerer.running, library.answerer.cut_off) == (0, 1)


def test_pickers_choose_strategy_and_collection(running, scripts, open_page):
    library = scripts.library()
    with running(library) as url:
        page = open_page(url)
        expect(page.get_by_label("Answer by")).to_have_value("rag")
        expect(page.get_by_label("Documents", exact=True)).to_have_value("default")
        page.get_by_label("Answer by").select_option("base@pumps")
        page.get_by_label("Documents", exact=True).select_option("archive")
        ask(page)
        finished(page)
    assert (library.answerer.asked[0].strategy, library.answerer.asked[0].collection) == ("base@pumps", "archive")


def test_the_keyboard_is_enough(running, scripts, open_page):
    with running(scripts.library()) as url:
        page = open_page(url)
        box = page.get_by_label("Your question")
        expect(box).to_be_focused()
        page.keyboard.type("Which torque,")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("please?")
        expect(box).to_have_value("Which torque,\nplease?")
        page.keyboard.press("Enter")
        finished(page)
        expect(box).to_have_value("")
        expect(box).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("article")).to_have_count(1)
        page.locator(".source").first.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#panel-title")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Close the document")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator(".source").first).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_source_as_a_sheet(running, scripts, open_page, picture, scheme):
    with running(scripts.library()) as url:
        page = open_page(url, viewport={"width": 375, "height": 740}, color_scheme=scheme, has_touch=True)
        picture(page, "empty")
        ask(page)
        finished(page)
        picture(page, "answer")
        page.locator(".source").first.tap()
        panel = page.get_by_role("complementary")
        expect(panel.locator("mark")).to_be_in_viewport()
        page.wait_for_timeout(100)
        picture(page, "sheet")
        box = panel.bounding_box()
        assert box is not None
        assert (box["x"], box["width"]) == (0, 375)
        assert box["y"] + box["height"] == 740
        assert page.evaluate("document.documentElement.scrollWidth") == 375, "nothing scrolls sideways"
        assert page.evaluate("document.getElementById('room').inert")
        page.touchscreen.tap(180, 40)
        expect(panel).to_be_hidden()
        assert not page.evaluate("document.getElementById('room').inert")


def test_dark_mode_is_dark_and_readable(running, scripts, open_page, picture):
    with running(scripts.library()) as url:
        page = open_page(url, color_scheme="dark", reduced_motion="reduce")
        ask(page)
        finished(page)
        page.locator(".marker").first.click()
        expect(page.locator("mark")).to_be_visible()
        picture(page, "source")
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            for selector in (".question", ".text", ".meta", ".quote", ".note.doubt", ".marker", "mark", "#panel-place"):
                assert contrast(page, selector) >= 4.5, f"{selector} in {scheme}"


def contrast(page: Page, selector: str) -> float:
    """WCAG 2.2's contrast ratio of an element's text against what is painted behind it."""
    colours = page.locator(selector).first.evaluate(
        """(shown) => {
            let behind = shown;
            const clear = () => getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)";
            while (clear()) behind = behind.parentElement;
            return [getComputedStyle(shown).color, getComputedStyle(behind).backgroundColor];
        }"""
    )
    first, second = sorted((luminance(colour) for colour in colours), reverse=True)
    return (first + 0.05) / (second + 0.05)


def luminance(colour: str) -> float:
    channels = [float(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_service_with_keys_asks_for_one_and_keeps_it_for_the_tab(running, browser, scripts, issue, picture) -> None:
    library = scripts.library()
    key = issue(library, name="page")
    with running(library) as url:
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        page.goto(f"{url}/")
        lock = page.get_by_label("Your access key")
        expect(lock).to_be_focused()
        expect(page.get_by_role("alert")).to_have_text("This service asks for an access key.")
        picture(page, "locked")
        lock.fill("dqa_wröng")
        lock.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("This key is not valid, or no longer.")
        lock.fill(key)
        lock.press("Enter")
        expect(page.locator("#strategy option")).not_to_have_count(0)
        expect(lock).to_be_hidden()
        page.reload()
        expect(page.locator("#strategy option")).not_to_have_count(0)
        ask(page)
        expect(page.locator("article, .answer").first).to_contain_text("42 Nm")
        picture(page, "answered")
        assert key not in page.content()
        assert key not in page.url
        library.catalog.keys.held.clear()
        ask(page)
        expect(lock).to_be_visible()
        another = context.new_page()
        another.goto(f"{url}/")
        expect(another.get_by_label("Your access key")).to_be_visible()
        context.close()
