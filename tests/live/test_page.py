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

from dbvad.detection.live.pages import Desk, bound, build, serve
from tests.live.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path, ["the gate", "ya_rd"])
    stage.live("the gate", latency_s=0.2, scores=[0.1, 0.9], jpeg=b"\xff\xd8jpeg")
    return stage


@pytest.fixture
def desk(stage: Stage) -> Desk:
    return stage.desk


def client(desk: Desk, token: str | None = None, **headers: str) -> TestClient:
    return TestClient(build(desk, token), base_url="http://127.0.0.1:8420", headers=headers)


def test_cameras_events_and_pictures(stage: Stage, desk: Desk) -> None:
    page = client(desk)
    assert "dbvad watch" in page.get("/").text
    first, second = page.get("/api/cameras").json()
    assert (first["camera"], first["curve"], first["latency_s"]) == ("the gate", [[0.0, 0.1], [0.64, 0.9]], 0.2)
    assert second["latency_s"] is None
    assert page.get("/api/frame/the%20gate").content == b"\xff\xd8jpeg"
    assert page.get("/api/frame/ya_rd").status_code == 404
    stage.happen("a", "the gate", "begin", "end", "update")
    stage.happen("b", "the gate", "begin")
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


def test_thumbs_are_kept(stage: Stage, desk: Desk, tmp_path: Path) -> None:
    page = client(desk)
    stage.happen("a", "the gate", "begin", "end")
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
    assert "protected by a token" in stranger.get("/").text
    assert "not the token" in stranger.get("/?token=falsch").text
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
    assert 'dbvad_camera_up{camera="the gate"} 1\n' in text
    assert 'dbvad_camera_up{camera="ya_rd"} 0\n' in text
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


def test_the_stream_goes_on_where_the_reader_was(stage: Stage, served: str) -> None:
    stage.happen("a", "the gate", "begin", "update", "end")
    assert [(number, line["kind"]) for number, line in news(served, 1, 2)] == [(2, "update"), (3, "end")]


def test_a_port_in_use_is_an_error(served: str) -> None:
    with pytest.raises(OSError, match="in use"):
        bound("127.0.0.1", int(served.rsplit(":", 1)[1]))
    with socket.create_connection(("127.0.0.1", int(served.rsplit(":", 1)[1]))):
        pass
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{served}/nothing")
