"""`dbvad events`: what a user says of events that were found."""

from pathlib import Path
from typing import Annotated

import typer

from dbvad.cli.places import here
from dbvad.cli.say import say as print

app = typer.Typer(no_args_is_help=True, help="Say of an event whether it was one, for `dbvad calibrate --feedback`.")
Id = Annotated[str, typer.Argument(help="The event's id, as `dbvad detect` prints it.")]
Found = Annotated[Path, typer.Option("--artifacts", "-a", parser=here, metavar="FOLDER",
                                      help="Folder of what was detected; feedback.jsonl is there.")]


class NoEvent(Exception):
    """There is no such event; the message says where it was looked for."""


@app.command("false")
def false(event: Id, artifacts: Found = Path("detections")) -> None:
    """It was none: a false alarm."""
    _judge(event, artifacts, False)


@app.command("true")
def true(event: Id, artifacts: Found = Path("detections")) -> None:
    """It was one, so the footage there is not normal."""
    _judge(event, artifacts, True)


def _judge(event_id: str, artifacts: Path, true: bool) -> None:
    from dbvad.detection import feedback
    from dbvad.detection.stages import read_events
    from pipeline.engine.store import Store
    from pipeline.manifest import read

    store = Store(artifacts)
    found = next((event for entry in read(artifacts).entries if "events" in entry.fingerprints
                  and store.is_current("events", entry.video_id, entry.fingerprints["events"])
                  for event in read_events(store, entry.video_id) if event.id == event_id), None)
    if found is None:
        raise NoEvent(f"no event {event_id!r} in {artifacts}: `dbvad sql -a {artifacts} \"select event_id, video_id, "
                      f"start_s from events\"` lists them")
    feedback.add(artifacts / feedback.FILE, found, not true)
    print(f"{found.video}, {found.start_s:.1f} to {found.end_s:.1f} s: {'an event' if true else 'no event'}, kept in "
          f"{artifacts / feedback.FILE}")
