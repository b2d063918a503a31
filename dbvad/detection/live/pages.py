"""The page: cameras, events, their clips, and thumbs. It only reads what the watch has and the journal holds."""

import asyncio
import hmac
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Cookie, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from sse_starlette import EventSourceResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware
from uvicorn import Config, Server

from dbvad.detection.feedback import FILE as FEEDBACK
from dbvad.detection.live.clips import CLIPS
from dbvad.detection.live.deliver import Delivery
from dbvad.detection.live.journal import fold, iso
from dbvad.detection.live.metrics import metrics
from dbvad.detection.live.watch import Watch, summary

STATIC = Path(__file__).parent / "page"
LOCAL = ["127.0.0.1", "localhost", "[::1]"]
SHOWN = 1000  # events, the newest
LOOK_S = 0.5  # between two looks for news of each open page
CURVE = 240  # scores of a card's curve
STUCK_S = 30.0  # without a turn of the loop
COOKIE = "dbvad_token"
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
ASKED, WRONG = "This page is protected by a token.", "That is not the token of this page."


class Verdict(BaseModel):
    """A thumb: `true`, it was an event; `false`, it was none."""

    id: str
    verdict: Literal["true", "false"]


class Desk:
    """What the page shows, folded from the journal."""

    def __init__(self, watch: Watch, folder: Path, deliveries: Sequence[Delivery]) -> None:
        self.watch, self.folder, self.deliveries = watch, folder, deliveries
        self._events: dict[str, dict[str, Any]] = {}
        self._seq, self._lock = 0, threading.Lock()

    def cameras(self) -> list[dict[str, Any]]:
        """A card each, with its curve: (stream_s, score) of the connection in hand."""
        return [summary(feed) | {
            "shot": feed.source.last_shot.index if feed.source.last_shot else None, "on": feed.thresholds.on,
            "why": feed.source.why,
            "curve": [(round(at, 2), round(score, 4)) for take, at, score in list(feed.scores.copy())[-CURVE:]
                      if take == feed.take]} for feed in self.watch.feeds]

    def events(self) -> list[dict[str, Any]]:
        """Newest first; `kind` is that of the last begin, update or end."""
        verdicts = self.verdicts()
        with self._lock:
            for line in self.watch.journal.since(self._seq):
                self._seq = line["seq"]
                self._events[line["id"]] = fold(self._events.get(line["id"], {}), line)
                if len(self._events) > SHOWN:
                    self._events.pop(next(iter(self._events)))
            return [event | {"verdict": verdicts.get(event["id"])} for event in reversed(self._events.values())]

    def verdicts(self) -> dict[str, str]:
        """The last thumb of each event."""
        try:
            text = (self.folder / FEEDBACK).read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        verdicts: list[dict[str, str]] = [json.loads(line) for line in whole]
        return {line["id"]: line["verdict"] for line in verdicts}

    def judge(self, verdict: Verdict) -> None:
        """Keep a thumb. Raises KeyError for an event that is not known."""
        event = next((event for event in self.events() if event["id"] == verdict.id), None)
        if event is None:
            raise KeyError(verdict.id)
        line: dict[str, Any] = {"at": iso(time.time()), "id": verdict.id, "verdict": verdict.verdict,
                                **{key: event[key] for key in ("camera", "start", "end", "peak", "fingerprint")
                                   if key in event}}
        with self._lock, (self.folder / FEEDBACK).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def frame(self, camera: str) -> bytes | None:
        """The last picture of a camera, JPEG."""
        return next((feed.source.last_shot.jpeg for feed in self.watch.feeds
                     if feed.source.name == camera and feed.source.last_shot), None)

    def health(self) -> dict[str, Any]:
        """`ok` while the loop turns, whatever the cameras do."""
        states, review = [str(feed.source.state) for feed in self.watch.feeds], self.watch.review
        return {"ok": time.monotonic() - self.watch.turned < STUCK_S, "cameras": len(states),
                "live": states.count("live"), "log": self.watch.journal.fault or "ok",
                "explaining": str(review.explainer.state) if review else "off"}


def build(desk: Desk, token: str | None) -> FastAPI:
    """The application. Without a token only names of this machine are answered, so no other site can read it."""
    app = FastAPI(title="dbvad watch", docs_url=None, redoc_url=None, openapi_url=None)
    if token is None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOCAL)

    def right(given: str) -> bool:
        return token is None or hmac.compare_digest(given.encode(), token.encode())

    def known(authorization: Annotated[str, Header()] = "", kept: Annotated[str, Cookie(alias=COOKIE)] = "") -> bool:
        return right(authorization.removeprefix("Bearer ") or kept)

    def allowed(is_known: Annotated[bool, Depends(known)]) -> None:
        if not is_known:
            raise HTTPException(401, "a token is needed: open /?token=TOKEN once, or send it as Bearer token")

    @app.middleware("http")
    async def _guarded(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = await go_on(request)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    guard = [Depends(allowed)]

    @app.get("/")
    def page(is_known: Annotated[bool, Depends(known)],
             given: Annotated[str | None, Query(alias="token")] = None) -> Response:
        if token is not None and given is not None and right(given):
            answer = RedirectResponse("/", 303)  # the token leaves the address bar
            answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return answer
        if (given is None or token is None) and is_known:
            return FileResponse(STATIC / "index.html")
        door = (STATIC / "token.html").read_text(encoding="utf-8")
        return HTMLResponse(door.replace("{said}", ASKED if given is None else WRONG), 401)

    @app.get("/health")
    def health() -> Response:
        found = desk.health()
        return JSONResponse(found, 200 if found["ok"] else 503)

    @app.get("/metrics", dependencies=guard)
    def figures() -> Response:
        return PlainTextResponse(metrics(desk.watch, desk.deliveries), media_type="text/plain; version=0.0.4")

    @app.get("/api/cameras", dependencies=guard)
    def cameras() -> list[dict[str, Any]]:
        return desk.cameras()

    @app.get("/api/events", dependencies=guard)
    def events(limit: Annotated[int, Query(ge=1, le=1000)] = 200) -> list[dict[str, Any]]:
        return desk.events()[:limit]

    @app.get("/api/frame/{camera}", dependencies=guard)
    def frame(camera: str) -> Response:
        jpeg = desk.frame(camera)
        if jpeg is None:
            raise HTTPException(404, "no picture yet")
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    @app.get("/api/clip/{name}", dependencies=guard)
    def clip(name: str) -> Response:
        path = desk.folder / CLIPS / Path(name).name
        if not path.is_file():
            raise HTTPException(404, "no such clip, or it made room for newer ones")
        return FileResponse(path)

    @app.post("/api/feedback", dependencies=guard, status_code=204)
    def feedback(verdict: Verdict) -> None:
        try:
            desk.judge(verdict)
        except KeyError:
            raise HTTPException(404, "no such event") from None

    @app.get("/api/stream", dependencies=guard)
    async def stream(last: Annotated[int | None, Header(alias="Last-Event-ID")] = None) -> EventSourceResponse:
        return EventSourceResponse(_news(desk, desk.watch.journal.seq if last is None else last), ping=15)

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


async def _news(desk: Desk, seq: int) -> AsyncIterator[dict[str, Any]]:
    """Journal lines behind `seq` with their numbers, and the cameras now and then."""
    journal = desk.watch.journal
    while True:
        if journal.seq > seq:
            for line in await asyncio.to_thread(lambda: list(journal.since(seq))):  # noqa: B023
                seq = line["seq"]
                yield {"id": str(seq), "event": "event", "data": json.dumps(line, ensure_ascii=False)}
        yield {"event": "cameras", "data": json.dumps(desk.cameras())}
        await asyncio.sleep(LOOK_S)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=64)
    listening.setblocking(False)
    return listening


def serve(app: FastAPI, listening: socket.socket) -> Callable[[], None]:
    """Answer from a thread of its own; returns what stops it."""
    server = Server(Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="page", daemon=True)
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join(5)

    return stop
