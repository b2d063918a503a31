"""Writing the report: one page, and beside it, where the videos are many, a data file a video that the page loads.

Up to ONE_PAGE videos everything is in the page. Beyond that a video's timeline and pictures lie in `<page>-data/` as a
script that hands them over, for a page opened from a disk may run a script beside it, but not read a file.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dbvad import __version__
from dbvad.report.content import Collected, choose, content
from dbvad.report.inputs import Inputs
from dbvad.report.judge import judge
from dbvad.report.provenance import Making
from dbvad.report.timeline import show
from pipeline.engine.files import atomic_file, writing

ONE_PAGE = 200  # videos; more of them, and the page would take seconds to open
FRAMES = 4000  # pictures in a report, shared out; chosen here: a page of some 20 MB
FRAMES_PER_VIDEO = (24, 120)  # but never fewer or more than these

Track = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class Written:
    """What was written. `files`: data files beside the page; `bytes`: of all together."""

    page: Path
    videos: int
    files: int
    bytes: int
    missing: Mapping[str, str]


def write_report(inputs: Inputs, page: Path, *, max_videos: int | None = None, frames: int | None = None,
                 track: Track = lambda items, total: items) -> Written:
    """Write `page`, replaced whole, and its data folder. Reads the shards of one video at a time.

    `max_videos`: the rest is left out; `frames`: pictures a video at most, 0 for none. Raises WriteError.
    """
    judged = {video_id: judge(video_id, scores, inputs.truth.get(video_id))
              for video_id, scores in inputs.scores.items()}
    chosen = choose(inputs.videos, judged, max_videos)
    if frames is None:
        low, high = FRAMES_PER_VIDEO
        frames = min(max(FRAMES // len(chosen.videos), low), high)
    folder = page.with_name(f"{page.stem}-data")
    beside = len(chosen.videos) > ONE_PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    collected, making = Collected(chosen), Making()
    with (writing(page), tempfile.TemporaryFile("w+", encoding="utf-8", dir=page.parent) as spool,
          ThreadPoolExecutor(os.cpu_count() or 1) as pool):
        for number, video in enumerate(track(chosen.videos, len(chosen.videos))):
            shown = show(inputs, video, judged.get(video.video_id), frames, pool)
            making.add(shown.footers)
            collected.add(number, shown, inputs)
            _put(shown.data, number, folder if beside else None, spool)
        spool.seek(0)
        context = content(inputs, chosen, collected, making) | {"folder": folder.name if beside else None}
        with atomic_file(page) as temporary, open(temporary, "w", encoding="utf-8") as file:
            template = _environment().get_template("page.html.jinja")
            file.writelines(template.generate(context | {"spool": spool}))
    files = _clear(folder, len(chosen.videos) if beside else 0)
    size = page.stat().st_size + sum(file.stat().st_size for file in files)
    missing = {part: sentence for part, sentence in context["missing"].items() if sentence}
    return Written(page, len(chosen.videos), len(files), size, missing)


def _put(data: Mapping[str, Any], number: int, folder: Path | None, spool: IO[str]) -> None:
    # "<" could end the script element that the text lies in.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    if folder is None:
        spool.write(f'<script type="application/json" id="data-{number}">{text}</script>\n')
        return
    folder.mkdir(exist_ok=True)
    (folder / f"{number}.js").write_text(f"receive({number},{text})\n", encoding="utf-8")


def _clear(folder: Path, count: int) -> list[Path]:
    """The data files of this report; those that an earlier, larger one left are removed."""
    files = [file for file in folder.glob("*.js") if file.stem.isdecimal()]
    for file in files:
        if int(file.stem) >= count:
            file.unlink()
    if not count and folder.is_dir():
        with suppress(OSError):  # something else lies in it
            folder.rmdir()
    return [file for file in files if int(file.stem) < count]


def _environment() -> Environment:
    from plotly.offline import get_plotlyjs

    here = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": _percent, "said": _said}
    environment.globals |= {"plotly": get_plotlyjs, "version": __version__,
                            "asset": lambda name: Markup((here / name).read_text(encoding="utf-8"))}
    return environment


def _percent(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}"


def _said(sentence: str) -> Iterator[tuple[str, bool]]:
    """A sentence in pieces, those between backquotes marked as commands."""
    for number, piece in enumerate(sentence.split("`")):
        yield piece, number % 2 == 1
