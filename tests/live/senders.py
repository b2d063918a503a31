"""Cameras that send by other ways than RTSP, on loopback: RTMP, HTTP, UDP, HLS, and pictures one by one."""

import io
import subprocess
import threading
import time
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from tests.live.faults import free_port
from tests.videos import barcode_image


class Sender:
    """A camera that sends a video over and over at its own speed, by FFmpeg's own program: `rtmp`, `flv` and `ts` (the
    last two over HTTP) wait for one client, `udp` sends to whoever listens, `hls` writes a live playlist."""

    def __init__(self, video: Path, kind: str, folder: Path) -> None:
        host, self._site = f"127.0.0.1:{free_port()}", serve_folder(folder) if kind == "hls" else None
        if self._site:
            self.address, target = f"http://127.0.0.1:{self._site.server_address[1]}/live.m3u8", f"{folder}/live.m3u8"
        else:
            self.address = target = {"rtmp": f"rtmp://{host}/live/gate", "udp": f"udp://{host}"}.get(
                kind, f"http://{host}/gate.{kind}")
        form = {"hls": ["hls", "-hls_time", "1", "-hls_list_size", "4", "-hls_flags", "delete_segments"],
                "udp": ["mpegts", "-pkt_size", "1316"], "ts": ["mpegts", "-listen", "1"]}.get(
            kind, ["flv", "-listen", "1"])
        self._command = ["ffmpeg", "-v", "quiet", "-stream_loop", "-1", "-re", "-i", str(video), "-c", "copy", "-f",
                         *form, target]
        self.process: Any = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        if self._site:
            self._site.shutdown()
            self._site.server_close()


def serve_folder(folder: Path) -> ThreadingHTTPServer:
    """A web server of a folder's files."""
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=site.serve_forever, args=(0.05,), daemon=True).start()
    return site


class JpegCamera:
    """Pictures a second over HTTP, each a JPEG of its own (`multipart/x-mixed-replace`), without time stamps."""

    def __init__(self, fps: float) -> None:
        pictures = [_jpeg(barcode_image(number)) for number in range(100)]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
                self.end_headers()
                with suppress(OSError):
                    for jpeg in pictures:
                        self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: "
                                         + str(len(jpeg)).encode() + b"\r\n\r\n" + jpeg + b"\r\n")
                        time.sleep(1 / fps)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/video"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _jpeg(image: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    return buffer.getvalue()
