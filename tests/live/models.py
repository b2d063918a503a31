"""A describing model on loopback, with every fault at a word: an OpenAI-compatible server that looks at nothing."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.live.faults import free_port

NAME = "org/model"
FORM = {"what": "a man runs", "who": "one man", "where": "a street", "outcome": "he leaves", "against": "he may jog",
        "event": "yes"}


class Model:
    """`mode`: answer, slow (until it is another one), garbage, error. `says`: its answer, a form or a text. `asked`:
    (prompt, JPEGs) of each request."""

    def __init__(self) -> None:
        self.mode, self.port, self.says = "answer", free_port(), FORM
        self.asked: list[tuple[str, list[bytes]]] = []
        self._server: ThreadingHTTPServer | None = None
        self._open: set[socket.socket] = set()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def stages(self, **vllm: Any) -> str:
        """A stages file that names it."""
        options = {"base_urls": [self.url], "request_timeout_s": 2.0, "outage_timeout_s": 1.0, "backoff_s": 0.05}
        return json.dumps({"describe": {"engine": "vllm", "model": NAME, "vllm": options | vllm}})

    def start(self) -> None:
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                model._open.add(self.connection)

            def finish(self) -> None:
                model._open.discard(self.connection)
                with suppress(OSError):
                    super().finish()

            def do_GET(self) -> None:
                self.reply(200, {"object": "list", "data": [
                    {"id": NAME, "object": "model", "created": 0, "owned_by": "test"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                *images, text = body["messages"][0]["content"]
                urls = [image["image_url"]["url"].partition(",")[2] for image in images]
                model.asked.append((text["text"], [base64.b64decode(url) for url in urls]))
                while model.mode == "slow":
                    time.sleep(0.02)
                if model.mode == "garbage":
                    self.reply(200, b"\x00\xff{garbage")
                elif model.mode == "error":
                    self.reply(500, {"error": {"message": "out of order"}})
                else:
                    said = model.says if isinstance(model.says, str) else json.dumps(model.says)
                    self.reply(200, {
                        "id": "x", "object": "chat.completion", "created": 0, "model": NAME, "choices": [{
                            "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}],
                        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})

            def reply(self, status: int, body: object) -> None:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.close_connection = True  # stays so where nobody waited
                with suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                    self.close_connection = False

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Throw all clients out, and refuse new ones."""
        if self._server:
            self._server.shutdown()
            self._server.socket.close()
            self._server = None
            for connection in self._open.copy():
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def describing() -> Iterator[Model]:
    model = Model()
    try:
        yield model
    finally:
        model.mode = "answer"
        model.stop()
