"""The page in a real browser: it keeps itself fresh, shows clips, stores thumbs, and asks nobody but the watch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from dbvad.detection.live.pages import bound, build, serve
from tests.chromium import CHROMIUM, FLAGS, needs_chromium
from tests.live.faults import Proxy
from tests.live.stage import Stage

pytestmark = needs_chromium
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, ["gate", "yard"])


class Opened:
    """A page of its own at the watch; `faults`: what it logged as errors, and whom else it asked."""

    def __init__(self, browser: Browser, stage: Stage, token: str | None = None, **options: Any) -> None:
        listening = bound("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self.stop = serve(build(stage.desk, token), listening)
        self.faults: list[str] = []
        self.page: Page = browser.new_page(**options)
        self.page.set_default_timeout(15_000)
        self.page.on("console", lambda said: said.type == "error" and self.faults.append(said.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda asked: "//127.0.0.1:" in asked.url or self.faults.append(asked.url))

    def go(self, port: int = 0, query: str = "") -> Page:
        self.page.goto(f"http://127.0.0.1:{port or self.port}/{query}")
        return self.page

    def close(self) -> None:
        self.page.close()
        self.stop()

    def restart(self, stage: Stage, token: str) -> None:
        self.stop()
        self.stop = serve(build(stage.desk, token), bound("127.0.0.1", self.port))


@pytest.fixture
def opened(browser: Browser, stage: Stage) -> Iterator[Opened]:
    opened = Opened(browser, stage)
    yield opened
    opened.close()
    assert opened.faults == []


def test_cards_are_live(opened: Opened, stage: Stage) -> None:
    stage.live("gate", fps=25, latency_s=0.1, scores=[0.1, 0.2])
    page = opened.go()
    gate, yard = (page.locator(".card", has_text=name) for name in ("gate", "yard"))
    expect(page.locator("#summary")).to_have_text("1 of 2 live")
    expect(gate.locator("[data-of=fps]")).to_have_text("25.0")
    expect(gate.locator("[data-of=late]")).to_have_text("100 ms")
    expect(yard.locator(".why")).to_contain_text("no picture for")
    picture = gate.locator("img").get_attribute("src")
    stage.live("gate", fps=12.5, latency_s=0.4, scores=[0.3])
    stage.live("yard")
    expect(gate.locator("[data-of=fps]")).to_have_text("12.5")
    expect(gate.locator("[data-of=late]")).to_have_text("400 ms")
    expect(page.locator("#summary")).to_have_text("2 of 2 live")
    expect(gate.locator("img")).not_to_have_attribute("src", picture or "")
    stage.lose("gate", "connection refused", seconds=200)
    expect(gate.locator(".badge")).to_have_text("lost")
    expect(gate.locator(".why")).to_have_text("lost for 3 min: connection refused")


def test_an_event_appears_ends_and_its_clip_plays(opened: Opened, stage: Stage) -> None:
    page = opened.go()
    expect(page.locator("#link")).to_have_text("connected")
    expect(page.locator("#none")).to_be_visible()
    stage.happen("a", "gate", "begin")
    row = page.locator("#events li")
    expect(row.locator(".mark")).to_have_text("going on")
    expect(page.locator("#none")).to_be_hidden()
    stage.happen("a", "gate", "end", "clip")
    expect(row.locator(".mark")).to_have_text("clip")
    stage.journal.add(kind="update", id="a", camera="gate", suggestions=[{"name": "<b>fire</b>", "likeness": 0.7}],
                      explanation={"what": "Smoke <i>rises</i>."})
    expect(row.locator(".what")).to_contain_text("perhaps <b>fire</b>")
    expect(row.locator(".told")).to_have_text("Smoke <i>rises</i>.")
    row.locator(".open").click()
    expect(page.locator("#video")).to_have_js_property("readyState", 4)
    page.evaluate("document.getElementById('video').pause()")
    curve = page.locator("#curve .u-over")
    box = curve.bounding_box()
    assert box is not None
    for share in (0.5, 0.1):
        curve.click(position={"x": share * box["width"], "y": box["height"] / 2})
        at = page.evaluate("document.getElementById('video').currentTime")
        assert at == pytest.approx(share * 7.5, abs=0.1)  # its scores last for 7.5 s
    page.get_by_label("Close").click()
    expect(page.locator("#viewer")).to_be_hidden()


def test_what_is_withheld_is_marked_and_the_verdict_is_told(opened: Opened, stage: Stage) -> None:
    page = opened.go()
    for event in "ab":
        stage.journal.hold(event)
        stage.happen(event, "gate", "begin")
    first, second = (page.locator(f"[data-id={event}]") for event in "ab")
    expect(first.locator(".mark")).to_have_text("held")
    stage.journal.release("a", verified="unverified")
    expect(first.locator(".mark")).to_have_text("going on")
    stage.journal.suppress("b")
    stage.happen("b", "gate", "end", "clip")
    stage.journal.add(kind="update", id="b", camera="gate", verified="refuted", explanation={"what": "a man jogs"})
    for _ in range(2):
        expect(second.locator(".mark")).to_have_text("suppressed")
        expect(second.locator(".told")).to_have_text("a man jogs")
        page.reload()
    second.locator(".open").click()
    expect(page.locator("#told")).to_contain_text("verdictrefuted")


def test_a_clip_that_no_browser_plays_can_be_downloaded(opened: Opened, stage: Stage) -> None:
    stage.happen("a", "gate", "begin", "end", "clip")
    (stage.folder / "clips" / "a.mp4").write_bytes(b"no video")
    page = opened.go()
    page.locator("#events .open").click()
    expect(page.locator("#unplayable")).to_be_visible()
    expect(page.locator("#download")).to_have_attribute("href", "/api/clip/a.mp4")


def test_thumbs_are_stored_and_shown_again(opened: Opened, stage: Stage) -> None:
    stage.happen("a", "gate", "begin", "end")
    page = opened.go()
    page.get_by_label("A false alarm").click()
    expect(page.get_by_label("A false alarm")).to_have_attribute("aria-pressed", "true")
    line, = (stage.folder / "feedback.jsonl").read_text().splitlines()
    assert (json.loads(line)["id"], json.loads(line)["verdict"]) == ("a", "false")
    page.reload()
    expect(page.get_by_label("A false alarm")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("It was an event")).to_have_attribute("aria-pressed", "false")


def test_a_wrong_token_is_refused_and_a_right_one_leaves_the_address(browser: Browser, stage: Stage) -> None:
    stage.happen("a", "gate", "begin")
    opened = Opened(browser, stage, "geheim")
    page = opened.go(query="?token=falsch")
    expect(page.get_by_role("status")).to_have_text("That is not the token of this page.")
    assert page.locator(".card, #events").count() == 0
    page.get_by_label("Token").fill("geheim")
    page.get_by_role("button", name="Open").click()
    expect(page.locator("#events li")).to_have_count(1)
    assert page.url == f"http://127.0.0.1:{opened.port}/"
    opened.close()
    assert all("401" in fault for fault in opened.faults)


def test_200_events_scroll_on_a_phone(browser: Browser, stage: Stage) -> None:
    for k in range(200):
        stage.happen(f"e{k}", "gate", "begin", "end", ago_s=1000 - k)
    opened = Opened(browser, stage, viewport=PHONE)
    page = opened.go()
    expect(page.locator("#events li")).to_have_count(200)
    assert page.locator("#events li").first.get_attribute("data-id") == "e199"
    page.locator("#events li").last.scroll_into_view_if_needed()
    expect(page.locator("#events li").last).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    opened.close()
    assert opened.faults == []


def test_events_of_a_broken_connection_are_there_after_it(opened: Opened, stage: Stage) -> None:
    proxy = Proxy(opened.port)
    try:
        stage.happen("a", "gate", "begin")
        page = opened.go(proxy.port)
        expect(page.locator("#events li")).to_have_count(1)
        proxy.mode = "refuse"
        proxy.cut()
        expect(page.locator("#link")).to_have_text("no connection")
        stage.happen("a", "gate", "end")
        stage.happen("b", "yard", "begin", ago_s=1)
        proxy.mode = "pass"
        expect(page.locator("#link")).to_have_text("connected")
        expect(page.locator("#events li")).to_have_count(2)
        expect(page.locator("#events li.running b")).to_have_text("yard")
        page.close()
    finally:
        proxy.close()
    opened.faults = [fault for fault in opened.faults if "ERR_" not in fault]  # the browser's own words on the break


def test_a_watch_that_comes_back_is_found_and_a_token_that_changed_is_asked_for(browser: Browser, stage: Stage) -> None:
    opened = Opened(browser, stage, "first")
    page = opened.go(query="?token=first")
    expect(page.locator("#link")).to_have_text("connected")
    opened.restart(stage, "first")
    stage.happen("a", "gate", "begin")
    expect(page.locator("#events li")).to_have_count(1)
    opened.restart(stage, "second")
    expect(page.get_by_role("status")).to_have_text("This page is protected by a token.", timeout=20_000)
    opened.close()
