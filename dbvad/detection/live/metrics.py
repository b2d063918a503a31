"""The watch in figures, as Prometheus reads them."""

from collections.abc import Iterable, Iterator, Sequence

from dbvad.detection.live.deliver import Delivery
from dbvad.detection.live.explaining import OUTCOMES
from dbvad.detection.live.explaining import State as Explaining
from dbvad.detection.live.review import Review
from dbvad.detection.live.source import COUNTS, State
from dbvad.detection.live.watch import Watch, summary

HELP = {
    "connections": "times that the camera was opened", "losses": "connections that were lost",
    "failures": "tries to open it that failed", "killed": "readers that hung or crawled and were killed",
    "frames": "frames read", "dropped": "sampled frames dropped in the reader's queue",
    "overrun": "sampled frames dropped in front of the scorer", "corrupt": "half frames left out",
    "repeated": "packets left out that came a second time",
    "refused": "packets that do not decode", "jumps": "jumps of the stream's clock", "wraps": "33-bit wraps of it",
    "resized": "changes of the picture's size", "recoded": "changes of the codec",
    "unkept": "packets that could not be kept for clips"}

Sample = tuple[dict[str, str], float]


def metrics(watch: Watch, deliveries: Sequence[Delivery]) -> str:
    """The text of /metrics."""
    cameras = [summary(feed) for feed in watch.feeds]

    def each(key: str) -> list[Sample]:
        return [({"camera": camera["camera"]}, camera[key]) for camera in cameras]

    lines = [
        *_metric("dbvad_camera_up", "gauge", "1 while frames come",
                 [({"camera": c["camera"]}, c["state"] == State.LIVE) for c in cameras]),
        *_metric("dbvad_camera_fps", "gauge", "frames a second of late", each("fps")),
        *_metric("dbvad_scores_total", "counter", "snippets scored", each("scored")),
        *_metric("dbvad_events_total", "counter", "events begun", each("events")),
        *_metric("dbvad_latency_seconds", "gauge", "from a frame's arrival to its score",
                 [({"camera": c["camera"], "quantile": quantile}, c[key]) for c in cameras
                  for quantile, key in (("0.5", "latency_s"), ("0.95", "latency_p95_s")) if c[key] is not None])]
    for count in COUNTS:
        lines += _metric(f"dbvad_{count}_total", "counter", HELP[count], each(count))
    for name, kind, text, key in (
            ("delivered_total", "counter", "events taken by a receiver", "delivered"),
            ("refused_deliveries_total", "counter", "events that a receiver refused", "refused"),
            ("waiting_deliveries", "gauge", "events that a receiver has not taken yet", "waiting")):
        lines += _metric(f"dbvad_{name}", kind, text,
                         [({"receiver": d.receiver.name}, getattr(d, key)) for d in deliveries])
    lines += _reviewed(watch.review) if watch.review else []
    return "\n".join(lines) + "\n"


def _reviewed(review: Review) -> Iterator[str]:
    explainer = review.explainer
    yield from _metric("dbvad_explaining_up", "gauge", "1 while the describing model answers",
                       [({}, explainer.state is Explaining.UP)])
    yield from _metric("dbvad_explanations_total", "counter", "events shown to the describing model",
                       [({"outcome": outcome}, explainer.counts[outcome]) for outcome in OUTCOMES])
    yield from _metric("dbvad_waiting_explanations", "gauge", "events that wait for it", [({}, explainer.waiting)])
    yield from _metric("dbvad_suppressed_total", "counter", "events that it refuted and that were told to nobody",
                       [({}, review.suppressed)])
    yield from _metric("dbvad_unverified_total", "counter", "events that went out without the verdict asked for",
                       [({}, review.unverified)])


def _metric(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        shown = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        yield f"{name}{{{shown}}} {float(value):g}" if shown else f"{name} {float(value):g}"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
