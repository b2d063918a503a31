"""`dbvad watch`: cameras, live."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from dbvad.cli.classes import Classes, words_of
from dbvad.cli.explaining import Explain, StagesFile, Verify, Within
from dbvad.cli.thresholds import MergeGap, MinLength, Off, On, PostRoll, PreRoll, thresholds_of
from dbvad.cli.trained import Clip, Device, Onnx, TrainedModel

if TYPE_CHECKING:
    import socket

    from dbvad.detection.live.deliver import Delivery, Receiver
    from dbvad.detection.live.feed import Feed
    from dbvad.detection.live.mqtt import Mqtt
    from dbvad.detection.live.scorer import Score, Scorer
    from dbvad.detection.live.source import Sampling
    from dbvad.detection.live.watch import Watch
    from dbvad.detection.model import Loaded

HOST, PORT = "127.0.0.1", 8420


class AddressError(ValueError):
    """An address that cannot be used; the message says why and what to do."""


class WatchCommand(TyperCommand):
    """`--page` may stand alone: options of Typer always take a value, so the usual one is put in."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _with_page(args) if "--page" in args else args)


def _with_page(args: list[str]) -> list[str]:
    """The arguments, `--page` with its address: what follows it is that, unless it is an option, a source or a path."""
    from dbvad.detection.live.cameras import YAML, is_address

    place = args.index("--page")
    after = args[place + 1:]
    alone = not after or after[0].startswith("-") or is_address(after[0]) or "/" in after[0] or after[0].endswith(YAML)
    return [*args[:place], f"--page={HOST}:{PORT}" if alone else f"--page={after[0]}", *after[not alone:]]


def watch(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Addresses (rtsp://..., rtmp, http, udp, "
                                                 "camera:0, file:PATH), or one cameras.yaml.")],
    model: TrainedModel = Path("runs/default"),
    clip: Clip = None,
    onnx: Onnx = False,
    on: On = None,
    off: Off = None,
    min_length: MinLength = None,
    merge_gap: MergeGap = None,
    pre_roll: PreRoll = None,
    post_roll: PostRoll = None,
    look_ahead: Annotated[int, typer.Option(min=0, help="Snippets seen after the one that is judged: later, and "
                                                        "surer.")] = 0,
    classes: Classes = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of what is kept: events.jsonl, clips.")] = Path(
        "watch"),
    disk_gb: Annotated[float, typer.Option(min=0, help="For the last of every camera's video, and as much for clips "
                                                       "of events; 0: keep none.")] = 2.0,
    explain: Explain = False,
    verify: Verify = "off",
    verify_within: Within = 20.0,
    config: StagesFile = Path("stages.yaml"),
    webhook: Annotated[list[str] | None, typer.Option(help="POST every event to this address; signed where "
                                                           "DBVAD_WEBHOOK_SECRET is set. May be repeated.")] = None,
    mqtt: Annotated[str | None, typer.Option(help="Publish events and camera states: mqtt://HOST:PORT/PREFIX.")
                    ] = None,
    page: Annotated[str | None, typer.Option(metavar="[HOST:PORT]", help=f"Show a page, at {HOST}:{PORT} unless an "
                                             "address follows.")] = None,
    token: Annotated[str | None, typer.Option(envvar="DBVAD_PAGE_TOKEN", help="What the page asks for; needed at an "
                                              "address that other machines reach.")] = None,
    scores: Annotated[Path | None, typer.Option(help="Write every score to this file, as JSON lines.")] = None,
    seconds: Annotated[float | None, typer.Option("--for", min=0, help="Stop after so many seconds.")] = None,
    device: Device = "auto",
) -> None:
    """Watch cameras and tell events as they happen: `begin`, `update` and `end`, a JSON line each on standard output.

    A camera that is lost is tried again until it is back; the others do not notice. Ctrl-C ends the watch.
    """
    from functools import partial

    from dbvad.cli.explaining import reviewed, reviewing
    from dbvad.detection import calibration
    from dbvad.detection.live.cameras import read
    from dbvad.detection.live.clips import Clips
    from dbvad.detection.live.deliver import Delivery
    from dbvad.detection.live.journal import Journal
    from dbvad.detection.live.review import UNVERIFIED
    from dbvad.detection.live.watch import Watch
    from dbvad.scoring.protocol import Protocol
    from pipeline.engine.lock import exclusive

    cameras = read(sources)
    words = words_of(classes)
    thresholds = thresholds_of(on=on, off=off, min_length_s=min_length, merge_gap_s=merge_gap, pre_roll_s=pre_roll,
                               post_roll_s=post_roll)
    receivers, broker = _webhooks(webhook or []), _broker(mqtt) if mqtt else None
    with ExitStack() as stack:
        if broker:
            receivers.append(broker)
            stack.callback(broker.stop)
        listening = stack.enter_context(_listening(page, token)) if page is not None else None
        stack.enter_context(exclusive(out))
        loaded, scorer, sampling = _eyes(model, clip, onnx, device, look_ahead, words, out)
        goes_on, keep = stack.enter_context(_until_stopped(seconds)), stack.enter_context(_writer(scores))
        journal = Journal(out)
        journal.hear.append(_printer())
        deliveries = [Delivery(journal, receiver, out, _say) for receiver in receivers]
        for delivery in deliveries:
            stack.callback(delivery.stop)
        clips = Clips(out, journal, _say, round(disk_gb * 1e9)) if disk_gb else None
        if clips:
            stack.callback(clips.stop)
        for event in journal.held():  # by a watch that was killed
            journal.release(event, verified=UNVERIFIED)
        review = reviewing(cameras, explain, verify, verify_within, config, out, journal, _say)
        if review:
            stack.callback(review.stop, goes_on)
        protocol = Protocol(scale="windows", look_ahead=look_ahead)
        watching = Watch(cameras, scorer, loaded.fingerprint, thresholds, sampling, journal, _say, clips, keep,
                         chores=[journal.retry], review=review,
                         choose=partial(calibration.choose, loaded.path, loaded.fingerprint, protocol))
        if broker:
            watching.chores.append(partial(broker.states, watching))
        if listening:
            stack.callback(_serve(listening, token, watching, out, deliveries))
        length = scorer.network.length
        _say(f"watching {len(watching.feeds)} camera(s) with {model}: a picture every {sampling.stride} frames, "
             f"windows of {length}; alerts by the score {look_ahead} snippets behind, final scores {length} behind")
        watching.run(goes_on)
    for feed in watching.feeds:
        _summarise(feed)
    if review:
        _say(reviewed(review))


def _webhooks(urls: list[str]) -> list["Receiver"]:
    import os

    from dbvad.detection.live.deliver import SECRET_VARIABLE, Webhook

    try:
        return [Webhook(url, os.environ.get(SECRET_VARIABLE)) for url in urls]
    except ValueError as error:
        raise AddressError(f"--webhook: {error}") from None


def _broker(address: str) -> "Mqtt":
    try:
        from dbvad.detection.live.mqtt import Mqtt
    except ModuleNotFoundError as error:
        raise AddressError(f"--mqtt needs {error.name}: pip install 'dbvad[mqtt]'") from None
    try:
        return Mqtt(address, _say)
    except ValueError as error:
        raise AddressError(f"--mqtt: {error}") from None


def _listening(address: str, token: str | None) -> "socket.socket":
    """The socket of the page. Raises AddressError."""
    import os

    host, _, port = (f"{HOST}:{address}" if address.isdigit() else address).rpartition(":")
    host, port = (host.strip("[]"), port) if port.isdigit() and host else (address.strip("[]"), str(PORT))
    if token is None and host not in ("127.0.0.1", "localhost", "::1"):
        raise AddressError(f"other machines reach {host}: protect the page by --token, or show it at 127.0.0.1:{port}")
    try:
        from dbvad.detection.live.pages import bound
    except ModuleNotFoundError as error:
        raise AddressError(f"the page needs {error.name}: pip install 'dbvad[page]'") from None
    try:
        return bound(host, int(port))
    except (OSError, OverflowError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise AddressError(f"no page at {host}:{port}: {why}; name another address by --page") from None


def _serve(listening: "socket.socket", token: str | None, watching: "Watch", out: Path, deliveries: list["Delivery"],
           ) -> Callable[[], None]:
    """Serve the page; returns what stops it."""
    from dbvad.detection.live.pages import Desk, build, serve

    stop = serve(build(Desk(watching, out, deliveries), token), listening)
    host, port, *_ = listening.getsockname()
    _say(f"page at http://{f'[{host}]' if ':' in host else host}:{port}{'/?token=TOKEN' if token else ''}")
    return stop


def _say(text: str) -> None:
    import time

    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def _printer() -> Callable[[dict[str, Any]], None]:
    """Prints lines on standard output for as long as somebody reads it."""
    import json
    import os

    from dbvad.detection.live.journal import told

    def tell(line: dict[str, Any]) -> None:
        if not told(line):
            return
        try:
            print(json.dumps(line, ensure_ascii=False), flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            _say("nobody reads standard output any more; events go on into the log")

    return tell


def _eyes(model: Path, clip: str | None, onnx: bool, device: str, look_ahead: int, words: list[str], out: Path,
          ) -> tuple["Loaded", "Scorer", "Sampling"]:
    """The model, with CLIP and network as cameras need them, and how frames are sampled."""
    import os

    import torch

    from dbvad.detection.live.scorer import Scorer
    from dbvad.detection.live.source import Sampling
    from dbvad.detection.model import find_clip, load
    from dbvad.detection.road import recipe
    from dbvad.detection.suggestions import Vocabulary, words_of
    from pipeline.engine.hashing import HashCache
    from pipeline.stages import MODEL_HASHES

    # Chosen here: the cameras' processes need a core, too.
    torch.set_num_threads(min(torch.get_num_threads(), max(1, (os.cpu_count() or 2) - 1)))
    loaded = load(model, form="onnx" if onnx else "torch", device=device)
    cache = HashCache(out / MODEL_HASHES)
    place = find_clip(loaded, clip, cache)
    cache.save()
    decode, score = recipe(loaded, place, device)
    eye = score.load()
    scorer = Scorer(eye, loaded.network, crops=score.crops, per=score.frames_per_snippet, look_ahead=look_ahead,
                    vocabulary=words_of(eye, words, score.templates) if words else Vocabulary(loaded.labels))
    return loaded, scorer, Sampling(decode.stride, decode.short_side, decode.quality)


@contextmanager
def _until_stopped(seconds: float | None) -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM end the watch in order."""
    import signal
    import time

    end = float("inf") if seconds is None else time.monotonic() + seconds
    stopped: list[int] = []
    before = {number: signal.signal(number, lambda heard, _: stopped.append(heard))
              for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: not stopped and time.monotonic() < end
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _writer(path: Path | None) -> Iterator[Callable[["Feed", list["Score"]], None] | None]:
    """What writes scores down, None for no file."""
    import json

    from dbvad.detection.live.journal import iso

    if path is None:
        yield None
        return
    with path.open("w", encoding="utf-8") as file:
        faults: list[str] = []

        def keep(feed: "Feed", scores: list["Score"]) -> None:
            lines = [json.dumps({
                "camera": feed.source.name, "take": feed.take, "snippet": score.moment.place,
                "frame": score.moment.frame, "stream_s": round(score.moment.stream_s, 3),
                "wall": iso(score.moment.wall), "score": round(score.score, 6), "final": score.final})
                for score in scores]
            try:
                if not faults:
                    file.write("\n".join(lines) + "\n")
                    file.flush()
            except OSError as error:  # a full disk does not end the watch
                faults.append(str(error))
                _say(f"{path}: {error.strerror}; no more scores are written there")

        yield keep


def _summarise(feed: "Feed") -> None:
    from dbvad.detection.live.watch import summary

    facts = summary(feed)
    late = "" if facts["latency_s"] is None else (f", latency {1000 * facts['latency_s']:.0f} ms (95 %: "
                                                  f"{1000 * facts['latency_p95_s']:.0f} ms)")
    _say(f"{facts['camera']}: {facts['scored']} scores, {facts['events']} events{late}; {facts['frames']} frames, "
         f"{facts['dropped'] + facts['overrun']} dropped, {facts['losses']} losses, {facts['failures']} failed tries")

