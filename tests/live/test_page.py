"""The page: what it answers, to whom, and that it replays from the log."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dbvad.detection.live.cameras import Camera, Cameras
from dbvad.detection.live.journal import Journal
from dbvad.detection.live.pages import Desk, bound, build, serve
from dbvad.detection.live.reader import Shot
from dbvad.detection.live.source import Sampling
from dbvad.detection.live.watch import Watch
from dbvad.detection.suggestions import Vocabulary
from dbvad.scoring.events import Thresholds


class NoScorer:
    """Cameras that nobody scores."""

    vocabulary = Vocabulary()

    def recording(self) -> None:
        return None


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    cameras = Cameras(cameras=(Camera(name="the gate", url="rtsp://bob:geheim@cam.lan/1"),
                               Camera(name="ya_rd", url="rtsp://cam.lan/2")))
    watch = Watch(cameras, NoScorer(), "print", Thresholds(), Sampling(), Journal(tmp_path), print)  # type: ignore[arg-type]
    watch.feeds[0].source.last_shot = Shot(5, 1.0, 0.0, 0.0, b"\xff\xd8jpeg")
    watch.feeds[0].scores.extend([(0, 0.2, 0.1), (0, 0.4, 0.9)])
    watch.feeds[0].latencies.extend([0.1, 0.3])
    return Desk(watch, tmp_path, [])


def client(desk: Desk, token: str | None = None, **headers: str) -> TestClient:
    return TestClient(build(desk, token), base_url="http://127.0.0.1:8420", headers=headers)


def happen(desk: Desk, id: str, *kinds: str) -> None:
    for kind in kinds:
        more = {"clip": f"{id}.mp4"} if kind == "update" else {"camera": "the gate", "peak": 0.9, "fingerprint": "f",
                                                              "start": {"stream_s": 1}, "end": {"stream_s": 2}}
        desk.watch.journal.add(kind=kind, id=id, **more)


def test_cameras_events_and_pictures(desk: Desk) -> None:
    page = client(desk)
    assert "dbvad watch" in page.get("/").text
    first, second = page.get("/api/cameras").json()
    assert (first["camera"], first["curve"], first["latency_s"]) == ("the gate", [[0.2, 0.1], [0.4, 0.9]], 0.2)
    assert second["latency_s"] is None
    assert page.get("/api/frame/the%20gate").content == b"\xff\xd8jpeg"
    assert page.get("/api/frame/ya_rd").status_code == 404
    happen(desk, "a", "begin", "end", "update")
    happen(desk, "b", "begin")
    assert [(event["id"], event["kind"]) for event in page.get("/api/events").json()] == [("b", "begin"), ("a", "end")]
    assert "geheim" not in page.get("/api/cameras").text + page.get("/metrics").text + page.get("/api/events").text


def test_a_clip_is_sent_in_parts_and_nothing_else_is(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(bytes(range(100)))
    (tmp_path / "secret.txt").write_text("geheim")
    page = client(desk)
    part = page.get("/api/clip/a.mp4", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    for name in ("b.mp4", "..%2Fsecret.txt", "../secret.txt"):
        assert page.get(f"/api/clip/{name}").status_code == 404


def test_thumbs_are_kept(desk: Desk, tmp_path: Path) -> None:
    page = client(desk)
    happen(desk, "a", "begin", "end")
    assert page.post("/api/feedback", json={"id": "a", "verdict": "true"}).status_code == 204
    assert page.post("/api/feedback", json={"id": "a", "verdict": "false"}).status_code == 204
    assert page.post("/api/feedback", json={"id": "x", "verdict": "true"}).status_code == 404
    assert page.post("/api/feedback", json={"id": "a", "verdict": "perhaps"}).status_code == 422
    kept = [json.loads(line) for line in (tmp_path / "feedback.jsonl").read_text().splitlines()]
    assert [(line["id"], line["verdict"], line["fingerprint"]) for line in kept] == [("a", "true", "f"),
                                                                                   ("a", "false", "f")]
    assert page.get("/api/events").json()[0]["verdict"] == "false"


def test_who_may_look(desk: Desk) -> None:
    assert client(desk).get("/api/cameras", headers={"Host": "evil.example"}).status_code == 400
    stranger = client(desk, "geheim")
    for path in ("/", "/api/cameras", "/api/events", "/metrics", "/api/stream", "/api/frame/gate", "/api/clip/a"):
        assert stranger.get(path).status_code == 401
    assert stranger.get("/?token=falsch").status_code == 401
    assert stranger.post("/api/feedback", json={"id": "a", "verdict": "true"}).status_code == 401
    assert stranger.get("/health").json()["cameras"] == 2
    assert client(desk, "geheim", Authorization="Bearer geheim").get("/api/cameras").status_code == 200
    friend = client(desk, "geheim")
    assert friend.get("/?token=geheim").status_code == 200  # after a redirect that takes it out of the address
    assert friend.get("/api/cameras").status_code == 200


def test_metrics_are_prometheus_text(desk: Desk) -> None:
    text = client(desk).get("/metrics").text
    assert 'dbvad_camera_up{camera="the gate"} 0\n' in text
    assert 'dbvad_latency_seconds{camera="the gate",quantile="0.5"} 0.2\n' in text
    for line in text.splitlines():
        assert line.startswith("# ") or float(line.rsplit(" ", 1)[1]) >= 0


@pytest.fixture
def served(desk: Desk) -> Iterator[str]:
    listening = bound("127.0.0.1", 0)
    stop = serve(build(desk, None), listening)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    stop()


def news(address: str, last: int, count: int) -> list[tuple[int, dict[str, Any]]]:
    """The next events of the stream, from behind number `last`."""
    found, number = [], 0
    request = urllib.request.Request(f"{address}/api/stream", headers={"Last-Event-ID": str(last)})
    with urllib.request.urlopen(request, timeout=10) as stream:
        while len(found) < count:
            name, _, value = stream.readline().decode().strip().partition(": ")
            if name == "id":
                number = int(value)
            elif name == "data" and value.startswith("{"):
                found.append((number, json.loads(value)))
    return found


def test_the_stream_goes_on_where_the_reader_was(desk: Desk, served: str) -> None:
    happen(desk, "a", "begin", "update", "end")
    assert [(number, line["kind"]) for number, line in news(served, 1, 2)] == [(2, "update"), (3, "end")]


def test_a_port_in_use_is_an_error(served: str) -> None:
    with pytest.raises(OSError, match="in use"):
        bound("127.0.0.1", int(served.rsplit(":", 1)[1]))
    with socket.create_connection(("127.0.0.1", int(served.rsplit(":", 1)[1]))):
        pass
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{served}/nothing")
