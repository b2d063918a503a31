"""A camera's world on loopback, with every fault at a word: RTSP server, proxy, bare MPEG-TS, webhook receiver."""

import asyncio
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.videos import barcode_image, write_video

TRICKLE_BYTES = 20  # at once, 10 times a second


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def until(true: Callable[[], Any], seconds: float = 90, step: Callable[[], Any] = lambda: time.sleep(0.02)) -> Any:
    """Wait for something; AssertionError when it does not come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        step()
    raise AssertionError(f"not within {seconds} s")


def camera_video(path: Path, n_frames: int = 250, size: tuple[int, int] = (160, 96), fps: int = 25, **more: Any,
                 ) -> Path:
    """What an IP camera sends: H.264 without B-frames, a key frame every 10; frame k shows the number k."""
    return write_video(path, (barcode_image(k, size) for k in range(n_frames)), gop=10, fps=fps,
                       options={"bf": "0", "preset": "ultrafast"}, **more)


class RtspServer:
    """Serves a folder's videos in real time at `address(name)`, over and over."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: Any = None
        self.start()

    def start(self) -> None:
        command = [str(Path(sys.executable).parent / "rtsp-server"), "-d", str(self.folder), "-H", "127.0.0.1", "-p",
                   str(self.port), "-cp", str(free_port())]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._listens)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def address(self, name: str, port: int | None = None) -> str:
        return f"rtsp://127.0.0.1:{port or self.port}/{name}?play_count=0"

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


class Proxy:
    """Stands before a server; `mode`: pass, stall, trickle, garbage, refuse. `cut()` throws all clients out."""

    def __init__(self, target: int) -> None:
        self.target, self.mode, self.clients = target, "pass", 0
        self.port = free_port()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._ready.wait()

    def cut(self) -> None:
        self._loop.call_soon_threadsafe(self._cut)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._client, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self.mode = "pass"
        self._cut()
        if tasks := asyncio.all_tasks(self._loop):
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=5))
        self._loop.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        if self.mode == "refuse":
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        pumps = [asyncio.ensure_future(self._pump(reader, far_writer, False)),
                 asyncio.ensure_future(self._pump(far_reader, writer, True))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for end in (writer, far_writer):
            self._writers.discard(end)
            end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, down: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(TRICKLE_BYTES if down and self.mode == "trickle" else 16384):
                while down and self.mode == "stall":
                    await asyncio.sleep(0.05)
                if down and self.mode == "trickle":
                    await asyncio.sleep(0.1)
                if down and self.mode == "garbage":
                    data = bytes(byte ^ random.randrange(256) if random.random() < 0.1 else byte for byte in data)
                writer.write(data)
                await writer.drain()


class Feeder:
    """Sends files over bare TCP as MPEG-TS, one after another at their own speed, to whoever connects."""

    def __init__(self, files: list[Path], seconds: float, port: int = 0) -> None:
        """`seconds`: that each file lasts."""
        self.files, self.seconds = files, seconds
        self._listening = socket.create_server(("127.0.0.1", port))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._send, args=(client,), daemon=True).start()

    def _send(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            for file in self.files:
                data, pieces = file.read_bytes(), max(1, round(self.seconds * 20))
                step = -(-len(data) // pieces)
                for start in range(0, len(data), step):
                    client.sendall(data[start:start + step])
                    time.sleep(0.05)


class Receiver:
    """A webhook's receiver. `got`: (headers, line) of what it took; `answer`: the status that it gives."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answer, self.port = 200, free_port()
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/geheim"

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.answer == 200:
                    receiver.got.append(({key.lower(): value for key, value in self.headers.items()}, body))
                self.send_response(receiver.answer)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.stop()
