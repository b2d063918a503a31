"""Events to others, at least once, in order, and whatever the receiver does.

The journal is the spool: a delivery is a place in it, kept on disk, that moves on once a line has arrived. A receiver
that is down for hours costs neither memory nor an event, and a restart goes on where the last one ended.
"""

import hashlib
import hmac
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from dbvad.detection.live.journal import Journal, Line, told
from pipeline.engine.files import atomic_file
from pipeline.instruments.live_video import masked

SECRET_VARIABLE = "DBVAD_WEBHOOK_SECRET"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0
ANSWER_S = 10.0
TRY_AGAIN = {408, 425, 429}  # of the 4xx; the others say that this line will never be taken


class Undelivered(Exception):
    """Not now: it is tried again. The message holds no address."""


class Refused(Exception):
    """Never: the receiver does not want this line."""


class Receiver(Protocol):
    """`name` may be shown; `address` is unlike any other receiver's. Raises Undelivered, Refused."""

    name: str
    address: str

    def __call__(self, line: Line) -> None: ...


class Webhook:
    """POSTs a line as JSON. With a secret, `X-Dbvad-Signature: sha256=HEX` is the HMAC of `TIMESTAMP.BODY`, where
    TIMESTAMP is `X-Dbvad-Timestamp`; `X-Dbvad-Delivery` is the same at each try of a line."""

    def __init__(self, url: str, secret: str | None) -> None:
        """Raises ValueError for what is no address."""
        if not url.startswith(("http://", "https://")):
            raise ValueError("no address: write http://... or https://...")
        self.address, self.secret = url, secret
        self.name = masked(url).split("://")[-1].partition("/")[0]  # a path may hold a token
        self._opener = urllib.request.build_opener(_NoRedirect)

    def __call__(self, line: Line) -> None:
        body, stamp = json.dumps(line, ensure_ascii=False).encode(), str(int(time.time()))
        headers = {"Content-Type": "application/json", "X-Dbvad-Timestamp": stamp,
                   "X-Dbvad-Delivery": f"{line['id']}-{line['seq']}"}
        if self.secret:
            digest = hmac.new(self.secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
            headers["X-Dbvad-Signature"] = f"sha256={digest}"
        try:
            with self._opener.open(urllib.request.Request(self.address, body, headers), timeout=ANSWER_S) as answer:
                answer.read(1024)
        except urllib.error.HTTPError as error:
            with error:
                if error.code < 500 and error.code not in TRY_AGAIN:
                    raise Refused(f"it answers {error.code}") from None
                raise Undelivered(f"it answers {error.code}") from None
        except Exception as error:  # http.client, ssl and sockets each raise their own
            reason = getattr(error, "reason", error)
            raise Undelivered(getattr(reason, "strerror", None) or type(reason).__name__) from None


class Delivery:
    """Takes the journal's lines to a receiver from a thread of its own. Counts: delivered, refused, tries, lost (lines
    that the journal let go before the receiver was back)."""

    def __init__(self, journal: Journal, receiver: Receiver, folder: Path, say: Callable[[str], None], *,
                 first_pause_s: float = FIRST_PAUSE_S) -> None:
        self.journal, self.receiver, self.say, self.first_pause_s = journal, receiver, say, first_pause_s
        self.place = folder / f"delivered-{hashlib.sha256(receiver.address.encode()).hexdigest()[:12]}"
        self.delivered = self.refused = self.tries = self.lost = 0
        self.down = False
        self.seq = self._kept_place()
        self._keep_place()
        self._news, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"deliver-{receiver.name}", daemon=True)
        journal.hear.append(lambda _: self._news.set())
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Lines that have not arrived."""
        return self.journal.seq - self.seq

    def stop(self, patience_s: float = 5.0) -> None:
        """Deliver what can be delivered in so many seconds; the rest goes out at the next start."""
        end = time.monotonic() + patience_s
        while self.waiting and not self.down and time.monotonic() < end:
            time.sleep(0.05)
        self._stopping.set()
        self._news.set()
        self._thread.join(ANSWER_S + 1)

    def _kept_place(self) -> int:
        """Where it stood; a new receiver gets what comes from now on."""
        try:
            return min(int(self.place.read_text()), self.journal.seq)
        except (OSError, ValueError):
            return self.journal.seq

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._news.wait(1.0)
            self._news.clear()
            for line in self.journal.since(self.seq):
                if told(line) and not self._arrives(line):
                    return
                self.lost += line["seq"] - self.seq - 1
                self.seq = line["seq"]
                self._keep_place()

    def _arrives(self, line: Line) -> bool:
        """Tries until it is taken or refused; False when stopped."""
        pause = self.first_pause_s
        while not self._stopping.is_set():
            self.tries += 1
            try:
                self.receiver(line)
            except Refused as error:
                if not self.refused:
                    self.say(f"{self.receiver.name} refuses an event ({error}); said once, counted from now on")
                self.refused += 1
                return True
            except Undelivered as error:
                if not self.down:
                    self.say(f"{self.receiver.name} takes no events ({error}); they are kept and tried again")
                self.down = True
                self._stopping.wait(pause * random.uniform(0.5, 1))
                pause = min(LONGEST_PAUSE_S, pause * 2)
                continue
            if self.down:
                self.say(f"{self.receiver.name} takes events again")
            self.down = False
            self.delivered += 1
            return True
        return False

    def _keep_place(self) -> None:
        try:
            with atomic_file(self.place) as temporary:
                temporary.write_text(str(self.seq))
        except OSError:
            pass  # a full disk: after a restart some lines would be sent again, as "at least once" allows


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET without its body: it is an answer like any other."""

    def redirect_request(self, *_: Any) -> None:
        return None
