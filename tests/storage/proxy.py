"""A proxy on loopback between a client and a store, that can break in the ways in which networks do."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """`mode`: pass | stall (bytes stand still) | cut (connections end in the middle) | slow (`rate` bytes a second)."""

    target: tuple[str, int]
    mode: str = "pass"
    rate: int = 20_000
    address: str = ""
    sent: int = 0  # bytes from clients, of all connections
    sockets: list[socket.socket] = field(default_factory=list)

    def pump(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with suppress(OSError):
            while data := source.recv(4 << 10):
                while self.mode == "stall":
                    time.sleep(0.05)
                if self.mode == "slow":
                    time.sleep(len(data) / self.rate)
                if self.mode == "cut":
                    sink.sendall(data[:len(data) // 2])
                    break
                sink.sendall(data)
                self.sent += counts * len(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self.target)
                self.sockets += [client, server]
                for ends in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self.pump, args=ends, daemon=True).start()


@contextmanager
def proxy(address: str) -> Iterator[Proxy]:
    """A proxy before the server at `address`, at an address of its own."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = Proxy((host, int(port)), address=f"http://127.0.0.1:{listener.getsockname()[1]}")
        threading.Thread(target=found.serve, args=(listener,), daemon=True).start()
        try:
            yield found
        finally:
            found.mode = "cut"
            listener.shutdown(socket.SHUT_RDWR)
            for end in found.sockets:
                end.close()
