"""What `dbvad detect` prints and writes once the stages have run."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dbvad.cli.say import say as print
from pipeline.engine.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from dbvad.scoring.events import Event, Thresholds
    from pipeline.engine.runner import Outcome
    from pipeline.engine.stage import Source, Stage
    from pipeline.engine.store import Store

FORM = ("what", "who", "place", "outcome", "against")


@dataclass(frozen=True)
class Found:
    """`paths` of the videos and `events` of those whose events are up to date, by id; `bad`: those in quarantine."""

    store: "Store"
    paths: dict[str, Path]
    events: dict[str, list["Event"]]
    bad: set[str]

    @property
    def all(self) -> list["Event"]:
        return [event for of_video in self.events.values() for event in of_video]


def read(store: "Store", stages: Sequence["Stage"], sources: Sequence["Source"]) -> Found:
    """What there is now of the videos that were named."""
    from dbvad.detection.stages import read_events
    from pipeline.engine.plan import State, make_plan

    plan = make_plan(stages, sources, store)
    events = {source.video_id: read_events(store, source.video_id) for source in sources
              if plan["events", source.video_id].state is State.DONE}
    bad = {unit.video_id for unit in plan.quarantined()}
    return Found(store, {source.video_id: source.path for source in sources}, events, bad)


def print_lines(found: Found, explain: bool) -> None:
    """A JSON line an event."""
    from dbvad.detection.outputs import json_lines

    for line in json_lines(found.all, _explained(found) if explain else None):
        print(line)


def print_events(found: Found, explain: bool) -> None:
    """A table of the events, and what was written of each."""
    from dbvad.cli.output import print_table
    from dbvad.detection.outputs import stamp

    rows = [(event.video, stamp(event.start_s)[:-2], stamp(event.end_s)[:-2], event.peak, event.mean,
             ", ".join(f"{word.name} {word.likeness:.2f}" for word in event.suggestions), event.id)
            for event in found.all]
    if rows:
        print_table(["video", "start", "end", "peak", "mean", "suggestions", "event"], rows)
    for event_id, form in _explained(found).items() if explain else ():
        shown = ", ".join(stamp(seconds)[:-2] for seconds in form["times_s"])
        flags = f" [{', '.join(form['flags'])}]" if form["flags"] else ""
        print(f"\n{event_id}, as {form['model']} sees it in the frames at {shown}{flags}")
        for name in FORM:
            if form[name]:
                print(f"  {name}: {form[name]}")


def write_texts(found: Found, csv: Path | None, vtt: Path | None, srt: Path | None) -> None:
    """The files asked for; one a video has its name."""
    from dbvad.detection import outputs
    from pipeline.engine.files import atomic_file

    def write(path: Path, text: str) -> None:
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    if csv:
        write(csv, outputs.as_csv(found.all))
    names = outputs.names(list(found.events))
    for folder, suffix, text in ((vtt, ".vtt", outputs.as_vtt), (srt, ".srt", outputs.as_srt)):
        if folder:
            for video_id, events in found.events.items():
                write(outputs.beside(folder, names[video_id], suffix), text(events))


def write_pictures(found: Found, thresholds: "Thresholds", png: Path | None, clips: Path | None, overlay: Path | None,
                   console: "Console") -> int:
    """Timelines, clips and overlays. Returns how many videos could not be cut or drawn, which is said of each."""
    from dbvad.detection import drawing, outputs
    from dbvad.detection.stages import snippets
    from dbvad.progress import track
    from pipeline.instruments.video import VideoError

    if not (png or clips or overlay):
        return 0
    names, failed = outputs.names(list(found.events)), 0
    for video_id in track("clips and pictures")(found.events, len(found.events)):
        events, name, path = found.events[video_id], names[video_id], found.paths[video_id]
        scored = snippets(found.store.read("detect", video_id))
        if png:
            drawing.timeline(outputs.beside(png, name, ".png"), video_id, scored, events, thresholds)
        try:
            if clips and events:
                _cut(path, events, thresholds, scored[-1].end_s, clips, name, console)
            if overlay:
                fps = found.store.read("ingest", video_id, ["fps"])["fps"][0].as_py()
                drawing.overlay(outputs.beside(overlay, name, ".mp4"), path, scored, events, fps)
        except VideoError as error:
            failed += 1
            print(error, file=sys.stderr)
    return failed


def print_rest(found: Found, outcome: "Outcome", console: "Console") -> None:
    """What was found and what could not be searched, and where more is to be had."""
    from pipeline.words import counted

    new = "" if outcome.count("done") else " (nothing to do: all was up to date)"
    root = found.store.root
    told = f"{counted(len(found.all), 'event')} in {len(found.events)} of {counted(len(found.paths), 'video')}{new}"
    more = [f"{told}; ask for more: dbvad sql -a {root} \"from events\""]
    if found.bad:
        more.append(f"{len(found.bad)} in quarantine: `dbvad pipeline failures -a {root}` says what is wrong with each")
    for line in more:
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def _cut(source: Path, events: Sequence["Event"], thresholds: "Thresholds", length_s: float, folder: Path,
         name: PurePosixPath, console: "Console") -> None:
    from dbvad.detection.outputs import beside, stamp
    from pipeline.instruments.video_out import Span, cut

    spans = [Span(*thresholds.rolled(event, length_s), beside(folder, name, f"-{event.start_s:.1f}s-{event.id}"))
             for event in events]
    for made in cut(source, spans):
        line = f"clip {made.path}: {stamp(made.start_s)} (a key frame) to {stamp(made.end_s)}"
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def _explained(found: Found) -> dict[str, dict[str, Any]]:
    """By event id: what a model said, and the frames that it was shown."""
    from pipeline.engine.store import MissingShard

    forms: dict[str, dict[str, Any]] = {}
    for video_id in found.events:
        try:
            rows = found.store.read("explain", video_id).to_pylist()
        except MissingShard:
            continue
        forms |= {row.pop("event_id"): row for row in rows if row.pop("video_id")}
    return forms
