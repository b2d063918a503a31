"""Look at the page of `dbvad watch` as a person would: phone and desk, light and dark, in headless Chromium.

    python tools/check_page.py OUT

A made-up watch of eight cameras stands behind the real page: rendered pictures, one camera that is lost and one that
never answered, a long name, 200 events. Writes a PNG of each screen, of an open clip, of a page where nothing has
happened, and of the door, and ends with 1 if the page logged an error, asked anyone but the watch, or is wider than
its screen. Needs Chromium (Debian: chromium) and playwright (PyPI).
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from playwright.sync_api import Browser, sync_playwright

from dbvad.demo.world.captions import CLASSES
from dbvad.demo.world.render import Renderer
from dbvad.demo.world.story import tell
from dbvad.detection.live.pages import bound, build, serve
from tests.chromium import CHROMIUM, FLAGS
from tests.live.stage import Stage

CAMERAS = ["gate", "yard", "car park level 2", "a camera whose name is as long as names may be, north-west corner",
           "kitchen", "till", "platform 9", "roof"]
SCREENS = {"desk": (1440, 900), "phone": (390, 844)}


def rendered(seed: int) -> bytes:
    buffer, story = io.BytesIO(), tell(seed, CLASSES[seed % len(CLASSES)])
    Image.fromarray(Renderer(story).frame(story.n_frames // 2)).save(buffer, "JPEG")
    return buffer.getvalue()


def eight(folder: Path) -> Stage:
    """Cameras in every state, and many events."""
    stage, dice = Stage(folder, [name.replace(",", "") for name in CAMERAS]), np.random.default_rng(7)
    names = list(stage.feeds)
    for k, name in enumerate(names):
        scores = np.clip(0.15 + 0.08 * dice.standard_normal(240).cumsum() / 4, 0.02, 0.6)
        if k % 3 == 0:
            scores[150 + 5 * k:185 + 5 * k] = 0.93
        if name not in ("roof", "till"):
            stage.live(name, fps=25 - k / 3, latency_s=0.11 + 0.02 * k, scores=scores.tolist(), jpeg=rendered(k))
    stage.lose("platform 9", "the stream ended", seconds=190)
    stage.feeds["roof"].source.why = stage.feeds["till"].source.why = "connection refused"
    for k in range(200):
        kinds = ("begin",) if k == 199 else ("begin", "end", *(("clip",) if k > 190 else ()))
        stage.happen(f"{k:016x}", names[k * 5 % 7], *kinds, ago_s=20 + 400 * (199 - k), length_s=1 + k % 9,
                     peak=0.6 + k % 40 / 100)
    stage.journal.add(kind="update", id=f"{197:016x}", camera=names[197 * 5 % 7],
                      suggestions=[{"name": "fighting", "likeness": 0.7}])
    stage.journal.add(kind="update", id=f"{198:016x}", camera=names[198 * 5 % 7], explanation={
        "what": "A man climbs over the fence beside the gate and runs to the parked cars.", "who": "one man",
        "place": "a yard at night", "outcome": "He leaves with a bag.", "against": "", "model": "a model"})
    return stage


def look(browser: Browser, address: str, out: Path, name: str, size: tuple[int, int], dark: bool, *,
         clip: bool = False) -> list[str]:
    """Screenshots of one screen; what was wrong with it."""
    faults: list[str] = []
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light",
                            device_scale_factor=2 if size[0] < 600 else 1)
    page.on("console", lambda said: said.type == "error" and faults.append(said.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith(address) or faults.append(asked.url))
    page.goto(address)
    page.wait_for_timeout(2000)
    page.screenshot(path=out / f"{name}.png")
    if size[0] < 600:
        page.screenshot(path=out / f"{name}-whole.png", full_page=True, clip={"x": 0, "y": 0, "width": 390,
                                                                              "height": 2400})
    if clip:
        page.locator(".open[aria-disabled=false]").first.click()
        page.wait_for_timeout(1500)
        page.screenshot(path=out / f"{name}-clip.png")
    if page.evaluate("document.documentElement.scrollWidth") > size[0]:
        faults.append("wider than its screen")
    page.close()
    return [f"{name}: {fault}" for fault in faults]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        stages = {"": (eight(Path(name, "full")), None), "-empty": (Stage(Path(name, "empty"), ["gate"]), None),
                  "-door": (Stage(Path(name, "door"), ["gate"]), "geheim")}
        for what, (stage, token) in stages.items():
            listening = bound("127.0.0.1", 0)
            stop = serve(build(stage.desk, token), listening)
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            for screen, size in SCREENS.items():
                for dark in (False, True):
                    found = look(browser, address, out, f"{screen}-{'dark' if dark else 'light'}{what}", size, dark,
                                 clip=not what)
                    faults += [fault for fault in found if "401" not in fault]  # which the door answers with
            stop()
        browser.close()
    print("\n".join(faults) or f"no faults; pictures in {out}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
