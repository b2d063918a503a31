"""The whole watch: scores are the archive's, events begin and end, a bad camera is nobody else's trouble."""

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dbvad.detection.live.cameras import Camera, Cameras
from dbvad.detection.live.clips import Clips
from dbvad.detection.live.journal import Journal
from dbvad.detection.live.scorer import Score, Scorer
from dbvad.detection.live.source import Pacing, Sampling, Source
from dbvad.detection.live.watch import Watch, summary
from dbvad.model.detector import Detector
from dbvad.scoring.events import Thresholds
from dbvad.scoring.protocol import Protocol
from dbvad.scoring.scores import TorchNetwork, score_by, score_features
from pipeline.instruments import video
from pipeline.instruments.clip import Clip
from tests.live.faults import Proxy, RtspServer, camera_video, free_port

LENGTH = 16
SAMPLING = Sampling(stride=2, short_side=96, quality=90)


@pytest.fixture(scope="module")
def network(clip: Clip) -> TorchNetwork:
    torch.manual_seed(5)
    return TorchNetwork(Detector(clip.dim, length=LENGTH).eval())


class Blank:
    """A network that says nothing of worth."""

    length = LENGTH

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x[:, :, :1]


def watched(folder: Path, cameras: dict[str, str], scorer: Scorer, enough: Callable[[Watch], bool],
            ) -> tuple[Watch, list[dict[str, Any]], list[str], dict[str, list[Score]]]:
    """Watch until it is enough: the watch, its journal, what it said, all scores."""
    kept: dict[str, list[Score]] = {name: [] for name in cameras}
    said: list[str] = []
    journal = Journal(folder)
    chosen = Cameras(cameras=tuple(Camera(name=name, url=url, queue=500) for name, url in cameras.items()))
    watch = Watch(chosen, scorer, "print", Thresholds(), SAMPLING, journal, said.append,
                  keep=lambda feed, scores: kept[feed.source.name].extend(scores))
    end = time.monotonic() + 60
    watch.run(lambda: not enough(watch) and time.monotonic() < end)
    return watch, list(journal.since(0)), said, kept


@pytest.mark.parametrize(("crops", "per"), [(1, 1), (5, 3)])
def test_scores_are_those_of_the_recording(tmp_path: Path, clip: Clip, network: TorchNetwork, crops: int,
                                           per: int) -> None:
    path = camera_video(tmp_path / "gate.mp4", 75)
    images = [read_jpeg(frame.image) for frame in video.decode(path, stride=2, short_side=96)]
    encoded = clip.encode_images(images, crops=crops)
    starts = np.arange(0, len(images), per)
    features = np.add.reduceat(encoded, starts, axis=0)
    features = (features / np.linalg.norm(features, axis=2, keepdims=True)).astype(np.float16)
    whole = score_features(network.detector, features, scale="windows")

    scorer = Scorer(clip, network, crops=crops, per=per)
    watch, _, said, kept = watched(tmp_path / "out", {"gate": f"file:{path}"}, scorer, lambda _: False)
    final = {score.moment.place: score for score in kept["gate"] if score.final}
    assert sorted(final) == list(range(len(whole)))
    assert [final[k].score for k in range(len(whole))] == pytest.approx(whole.tolist(), abs=1e-3)
    assert [final[k].moment.frame for k in range(len(whole))] == (2 * starts).tolist()
    now = [score.score for score in kept["gate"] if not score.final]
    live = score_by(network, features, Protocol(scale="windows", look_ahead=0))
    assert now == pytest.approx(live[:, 0].tolist(), abs=1e-3)  # what `dbvad calibrate --live` goes by
    assert said[-1] == "gate: its file has been played to the end"
    facts = summary(watch.feeds[0])
    assert facts["scored"] == len(whole)
    assert 0 < facts["latency_s"] <= facts["latency_p95_s"] < 60


def read_jpeg(image: np.ndarray) -> np.ndarray:
    """An image as it comes back from the JPEG that `decode` keeps."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return np.asarray(Image.open(buffer).convert("RGB"))


class Said(Scorer):
    """Says of each frame what `rule` makes of its number."""

    def __init__(self, clip: Clip, rule: Callable[[int], float], **more: int) -> None:
        super().__init__(clip, Blank(), **more)
        self.rule = rule

    def score(self, batch: list[Any]) -> list[list[Score]]:
        return [[replace(score, score=self.rule(score.moment.frame)) for score in scores]
                for scores in super().score(batch)]

    def end(self, recording: Any) -> list[Score]:
        return []


def test_events_begin_and_end_and_leave_a_clip(tmp_path: Path, clip: Clip) -> None:
    path = camera_video(tmp_path / "gate.mp4", 150)
    journal = Journal(tmp_path / "out")
    cutting = Clips(tmp_path / "out", journal, print, 1 << 30)
    scorer = Said(clip, lambda frame: 0.9 if 40 <= frame < 80 else 0.1)
    watch = Watch(Cameras(cameras=(Camera(name="gate", url=f"file:{path}", queue=500),)), scorer, "print",
                  Thresholds(merge_gap_s=0.5, pre_roll_s=1, post_roll_s=1), SAMPLING, journal, print, cutting)
    watch.run(lambda: True)
    cutting.stop()
    lines = list(journal.since(0))
    assert [line["kind"] for line in lines] == ["begin", "end", "update"]
    assert len({line["id"] for line in lines}) == 1
    end = lines[1]
    assert (end["start"]["stream_s"], end["end"]["stream_s"]) == (1.6, 3.2)
    assert end["start"]["wall"] < lines[0]["at"] < end["at"]
    assert (end["peak"], end["mean"], end["camera"]) == (0.9, 0.9, "gate")
    assert lines[2]["clip"] == f"{end['id']}.mp4"
    assert lines[2]["clip_start_s"] <= 0.6


def test_a_bad_camera_is_nobody_elses_trouble(tmp_path: Path, clip: Clip, server: RtspServer, proxy: Proxy,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "pacing", Pacing(first_s=0.1))
    proxy.mode = "garbage"
    scorer = Said(clip, lambda frame: 0.1)

    def seen(watch: Watch) -> bool:
        good, down, mad = (summary(feed) for feed in watch.feeds)
        return good["scored"] > 20 and down["failures"] > 3 and harmed(mad) > 0

    watch, lines, said, _ = watched(tmp_path, {
        "good": server.address("gate.mp4"), "down": f"rtsp://bob:geheim@127.0.0.1:{free_port()}/x",
        "mad": server.address("gate.mp4", proxy.port)}, scorer, seen)
    good, down, mad = (summary(feed) for feed in watch.feeds)
    assert good["losses"] == good["failures"] == good["dropped"] == good["overrun"] == 0
    assert good["scored"] > 20
    assert down["failures"] > 3
    assert harmed(mad) > 0
    assert [line for line in said if line.startswith("down:")] == [
        "down: lost (connection refused); tried again until it is back"]
    assert "geheim" not in json.dumps(lines) + "".join(said)


def harmed(facts: dict[str, Any]) -> int:
    return sum(facts[count] for count in ("failures", "losses", "refused", "corrupt"))


def test_an_event_ends_with_its_connection(tmp_path: Path, clip: Clip, server: RtspServer, proxy: Proxy) -> None:
    journal, said = Journal(tmp_path), []
    watch = Watch(Cameras(cameras=(Camera(name="gate", url=server.address("gate.mp4", proxy.port)),)),
                  Said(clip, lambda frame: 0.9), "print", Thresholds(), SAMPLING, journal, said.append)
    ids = []

    def hear(line: dict[str, Any]) -> None:
        ids.append((line["kind"], line["id"], line.get("because")))
        if line["kind"] == "begin":
            proxy.cut()

    journal.hear.append(hear)
    end = time.monotonic() + 60
    watch.run(lambda: len(ids) < 4 and time.monotonic() < end)
    kinds = [(kind, because) for kind, _, because in ids if kind != "update"]
    assert kinds[:3] == [("begin", None), ("end", "the stream ended"), ("begin", None)]
    assert len({event for _, event, _ in ids}) == 2
    assert any("back, h264" in line for line in said)
