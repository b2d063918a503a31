#!/usr/bin/env python
"""Look at a report as a person would: in headless Chromium, on a desk and on a phone, light and dark.

    python tools/check_report.py report/index.html [--video ID] [--screenshots OUT] [--axe axe.min.js]

Checks that the page logs no error, asks nothing of the network, fits the screen, answers to mouse and keyboard, and
(with axe-core's axe.min.js) breaks no accessibility rule badly. `--screenshots` writes the pictures of the README,
report.png and timeline.png, and one of each screen beside them.

Needs Chromium and its driver (Debian: chromium chromium-driver) and selenium (PyPI); none of them is needed by dbvad.
"""

import argparse
import base64
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

DESK, PHONE = (1440, 900), (390, 844)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND")
PATIENCE_S = 20.0
# The data a reader waits for: the chosen video's timeline is drawn.
READY = """const v = document.getElementById('viewer');
           return v.querySelector('.about, .missing') && (!v.querySelector('.chart') || v.querySelector('.main-svg'))"""


class Browser:
    """Chromium with one page, its messages and its requests."""

    def __init__(self, profile: str) -> None:
        try:
            from selenium import webdriver
            from selenium.webdriver.chrome.service import Service
        except ImportError:
            sys.exit("selenium is not installed: pip install selenium")
        chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
        if not chromium or not driver:
            sys.exit("Chromium or its driver is not installed: apt-get install chromium chromium-driver")
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.driver.get("about:blank")
        self.requests()  # those of the browser's own first page

    def screen(self, size: tuple[int, int], dark: bool, scale: float = 1) -> None:
        """Size in CSS pixels; a small screen is a phone's."""
        phone = size[0] < 600
        self._command("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=scale,
                      mobile=phone)
        self._command("Emulation.setTouchEmulationEnabled", enabled=phone)
        self._command("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"}])

    def open(self, address: str) -> tuple[float, float]:
        """Seconds until the page is loaded, and until the first timeline is drawn."""
        self.driver.get("about:blank")
        began = time.monotonic()
        self.driver.get(address)
        self.wait(READY)
        drawn = time.monotonic() - began
        loaded = self.run("return performance.getEntriesByType('navigation')[0].loadEventEnd / 1000")
        return loaded, drawn

    def wait(self, condition: str) -> None:
        limit = time.monotonic() + PATIENCE_S
        while not self.run(condition):
            if time.monotonic() > limit:
                raise TimeoutError(f"in {PATIENCE_S:g} s it did not come true that {condition}")
            time.sleep(0.05)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def picture(self, path: Path, element: str | None = None, height: int | None = None) -> None:
        """The screen, or one element whole."""
        clip = {}
        if element is not None:
            box = self.run("const b = document.querySelector(arguments[0]).getBoundingClientRect();"
                           "return [b.left + scrollX, b.top + scrollY, b.width, b.height]", element)
            clip = {"clip": {"x": box[0], "y": box[1], "width": box[2], "height": min(box[3], height or box[3]),
                             "scale": 1}, "captureBeyondViewport": True}
        data = self._command("Page.captureScreenshot", format="png", **clip)["data"]
        path.write_bytes(base64.b64decode(data))

    def requests(self) -> list[str]:
        """Addresses asked for since the last call, but those of files and of data in the page."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("file:", "data:", "about:", "blob:", "chrome:"))]

    def complaints(self) -> list[str]:
        """Warnings and errors of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def _command(self, name: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, arguments)


def faults_of_use(browser: Browser) -> list[str]:
    """Hover, slider, next video, filter: what of it does not answer."""
    state = """const v = document.getElementById('viewer');
               return [v.querySelector('.still img')?.src, v.querySelector('.still figcaption')?.textContent,
                       v.querySelector('input[type=range]')?.value, v.querySelector('h3')?.textContent]"""
    point = """const c = document.querySelector('#viewer .track').getBoundingClientRect();
               document.querySelector('#viewer .track').dispatchEvent(new PointerEvent('pointermove',
                 {bubbles: true, clientX: c.left + 60 + (c.width - 72) * arguments[0], clientY: c.top + 50}))"""
    found = []
    if browser.run("return !!document.querySelector('#viewer .track')"):
        browser.run(point, 0.02)
        first = browser.run(state)
        browser.run(point, 0.95)
        last = browser.run(state)
        if first[1] == last[1] or (first[0] is not None and first[0] == last[0]):
            found.append("pointing at another time of the timeline changes neither picture nor text")
        browser.run("document.querySelector('#viewer input[type=range]').focus()")
        from selenium.webdriver import ActionChains, Keys

        ActionChains(browser.driver).send_keys(Keys.HOME).perform()
        if not browser.run(state)[1].startswith("0") or browser.run(state)[1] == last[1]:
            found.append("the Home key does not bring the timeline to its start")
    following = "return [...document.querySelectorAll('#viewer .step button')].find(b => !b.disabled)"
    button = browser.run(following)
    if button:
        before = browser.run(state)[3]
        browser.run("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()
        browser.wait(f"return document.querySelector('#viewer h3').textContent !== {json.dumps(before)}")
        browser.wait(READY)
        browser.run("history.back()")
    count = "return document.querySelectorAll('#list li:not([hidden])').length"
    type_in = """const f = document.querySelector('#filters input'); f.value = arguments[0];
                 f.dispatchEvent(new Event('input', {bubbles: true}))"""
    browser.run(type_in, "no such video anywhere")
    if browser.run(count) != 0:
        found.append("a filter that fits no video leaves some in the list")
    browser.run(type_in, "")
    return found


def faults_of_look(browser: Browser) -> list[str]:
    """Wider than the screen, pictures without a text."""
    wide, seen, bare = browser.run("""
        const images = [...document.images].filter(i => !i.hasAttribute('alt') || (!i.alt && i.src));
        return [document.documentElement.scrollWidth, innerWidth, images.length]""")
    return ([f"the page is {wide} pixels wide on a screen of {seen}"] if wide > seen else []) + (
        [f"{bare} pictures have no alternative text"] if bare else [])


def faults_of_access(browser: Browser, axe: str) -> list[str]:
    """Serious and critical violations that axe-core finds."""
    browser.run(axe)
    browser.driver.set_script_timeout(120)
    result = browser.driver.execute_async_script(
        "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then("
        "r => done(r.violations.map(v => [v.impact, v.id, v.nodes.length, v.nodes[0].html.slice(0, 160), "
        "v.nodes[0].failureSummary.slice(0, 300)])))")
    return [f"axe {impact}: {rule}, {count} places, such as {html} ({why})" for impact, rule, count, html, why in result
            if impact in ("serious", "critical")]


def main() -> int:
    """Check one page, print what was seen, and return 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--video", help="the video to show; by default the one the page opens with")
    parser.add_argument("--screenshots", type=Path, metavar="OUT")
    parser.add_argument("--axe", type=Path, help="axe.min.js of npm's axe-core")
    given = parser.parse_args()
    address = given.page.resolve().as_uri() + (f"#video/{quote(given.video, safe='/')}" if given.video else "")
    axe = given.axe.read_text(encoding="utf-8") if given.axe else None
    if given.screenshots:
        given.screenshots.mkdir(parents=True, exist_ok=True)
    faults = []
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(profile)
        try:
            for size, dark in ((DESK, False), (DESK, True), (PHONE, False), (PHONE, True)):
                name = f"{'phone' if size == PHONE else 'desk'}-{'dark' if dark else 'light'}"
                browser.screen(size, dark, 2 if size == PHONE else 1)
                loaded, drawn = browser.open(address)
                found = faults_of_use(browser) + faults_of_look(browser)
                found += faults_of_access(browser, axe) if axe else []
                if given.screenshots:
                    pictures(browser, given.screenshots, name, address, size, dark)
                found += [f"console: {message}" for message in browser.complaints()]
                found += [f"request to {url}" for url in browser.requests()]
                print(f"{name}: loaded in {loaded:.2f} s, first timeline after {drawn:.2f} s, {len(found)} faults")
                faults += [f"{name}: {fault}" for fault in found]
        finally:
            browser.driver.quit()
    print("\n".join(faults) if faults else "no fault found" + ("" if axe else " (axe-core was not asked: --axe)"))
    return 1 if faults else 0


def pictures(browser: Browser, out: Path, name: str, address: str, size: tuple[int, int], dark: bool) -> None:
    """The whole page and the chosen video; of the light desk also the README's two."""
    browser.open(address)
    if name == "desk-light":
        browser.run("scrollTo(0, 0)")
        browser.picture(out / "report.png")
        browser.picture(out / "timeline.png", "#viewer .play")
    browser.picture(out / f"{name}-video.png", "#viewer")
    # What is off the screen is not laid out, so the screen is made as high as the page.
    browser.screen((size[0], 9000), dark)
    browser.run("document.getElementById('example')?.scrollIntoView()")
    time.sleep(0.8)
    browser.run("scrollTo(0, 0)")
    browser.picture(out / f"{name}-page.png", "body", height=9000)


if __name__ == "__main__":
    sys.exit(main())
