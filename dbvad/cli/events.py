"""`dbvad events`: what a watch has logged, and what a user says of events that were found."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dbvad.cli.places import here
from dbvad.cli.say import say as print

app = typer.Typer(no_args_is_help=True, help="List the events of a watch; say of an event whether it was one, for "
                                             "`dbvad calibrate --feedback`.")
Id = Annotated[str, typer.Argument(help="The event's id, as `dbvad detect` prints it.")]
Found = Annotated[Path, typer.Option("--artifacts", "-a", parser=here, metavar="FOLDER",
                                      help="Folder of what was detected; feedback.jsonl is there.")]


class NoEvent(Exception):
    """There is no such event; the message says where it was looked for."""


class NoLog(Exception):
    """There is no log of a watch; the message says where it was looked for."""


@app.command("list")
def list_(
    watch: Annotated[Path, typer.Argument(metavar="DIR", help="The --out of `dbvad watch`.")] = Path("watch"),
    suppressed: Annotated[bool, typer.Option("--suppressed", help="Only what `--verify suppress` told to nobody.")
                          ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known of each, as JSON lines.")] = False,
) -> None:
    """List what a watch has logged, also while it runs, oldest first: what it told, withholds, and suppressed."""
    import json

    from dbvad.cli.output import print_table
    from dbvad.detection.live.journal import Line, fold, lines

    events: dict[str, Line] = {}
    for line in lines(watch):
        events[line["id"]] = fold(events.get(line["id"], {}), line)
    if not events and not any(watch.glob("events*.jsonl")):
        raise NoLog(f"no log of a watch in {watch}: name the folder that `dbvad watch --out` wrote into")
    found = [event for event in events.values() if not suppressed or event.get("withheld") == "suppressed"]
    if as_json:
        for event in found:
            print(json.dumps(event, ensure_ascii=False))
    elif found:
        print_table(["start", "camera", "seconds", "peak", "state", "verified", "what a model saw", "event"],
                    [_row(event) for event in found])
    else:
        print("no events" if not suppressed else f"no event of {len(events)} was suppressed")


@app.command("false")
def false(event: Id, artifacts: Found = Path("detections")) -> None:
    """It was none: a false alarm."""
    _judge(event, artifacts, False)


@app.command("true")
def true(event: Id, artifacts: Found = Path("detections")) -> None:
    """It was one, so the footage there is not normal."""
    _judge(event, artifacts, True)


def _row(event: dict[str, Any]) -> tuple[Any, ...]:
    """An event in a table. Of one whose begin is no longer kept, only what came later is known."""
    start, end = event.get("start", {}), event.get("end", {})
    seconds = round(end["stream_s"] - start["stream_s"], 1) if start and end else None
    state = event.get("withheld") or ("over" if event["kind"] == "end" else "going on")
    return (start.get("wall"), event.get("camera"), seconds, event.get("peak"), state, event.get("verified"),
            event.get("explanation", {}).get("what"), event["id"])


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
