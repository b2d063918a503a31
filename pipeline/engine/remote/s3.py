"""The one door to obstore: the few requests that are made of an S3-compatible store, and their errors in plain words.

Address, region and keys come from the environment (AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, ...) each time a
client is made, and are kept nowhere else. A request is tried again for DBVAD_S3_PATIENCE seconds; a transfer that
stands still for half of that is one that failed. An upload is one PUT: a process that is killed leaves nothing behind.
"""

import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    NotModifiedError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from pipeline.engine.place import StorageError, Url, server

PATIENCE_S = 60.0
CONNECT_S = 5.0
SLOWEST = 100_000  # bytes a second: a long upload that is slower is given up and tried again
PUT_LIMIT = 5 * 10**9  # bytes that S3 takes in one PUT
PART = 1 << 20  # bytes in memory at a time
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
OTHER_KEYS = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
              "AWS_CONTAINER_CREDENTIALS_FULL_URI")
AGAIN = "What was finished is kept: mend that, and run the same again"


class Seen(NamedTuple):
    """An object as it was seen: its ETag, which changes with its content, and its bytes."""

    etag: str
    size: int


class Taken(Exception):
    """A conditional PUT came second: the object is not as it was expected to be."""


class NoConditions(Exception):
    """The store knows no conditional PUT."""


class Answer:
    """An object that the store has begun to send."""

    def __init__(self, objects: "Objects", key: str, found: "obstore.GetResult") -> None:
        self.objects, self.key, self.found, self.seen = objects, key, found, _seen(found.meta)

    def parts(self) -> Iterator[bytes]:
        """Its bytes, about a megabyte at a time."""
        with self.objects.plainly(self.key):
            for part in self.found.stream(min_chunk_size=PART):
                yield bytes(part)

    def write(self, to: Path) -> None:
        """Write it into a file."""
        with open(to, "wb") as file:
            for part in self.parts():
                file.write(part)


class Objects:
    """The objects below a URL, by keys relative to it. All calls raise StorageError where the store does not answer."""

    def __init__(self, url: Url) -> None:
        self.url = url
        self.client = lru_cache(self._client)

    def list(self, folder: str = "") -> Iterator[tuple[str, Seen]]:
        """All objects below a folder, a thousand a request."""
        with self.plainly():
            for chunk in obstore.list(self._reading, f"{folder}/" if folder else None):
                yield from ((row["path"], _seen(row)) for row in chunk)

    def head(self, key: str) -> Seen:
        """Raises FileNotFoundError."""
        with self.plainly(key):
            return _seen(obstore.head(self._reading, key))

    def tail(self, key: str, length: int) -> tuple[Seen, bytes]:
        """The last bytes of an object, all of it if it has no more. Raises FileNotFoundError."""
        with self.plainly(key):
            try:
                answer = obstore.get(self._reading, key, options={"range": {"suffix": length}})
            except GenericError as error:
                if "HTTP error" in str(error) or (seen := self.head(key)).size:
                    raise
                return seen, b""  # an empty object has no last bytes, which stores tell in several ways
            return _seen(answer.meta), bytes(answer.bytes())

    def part(self, key: str, start: int, end: int) -> bytes:
        """Raises FileNotFoundError."""
        with self.plainly(key):
            return bytes(obstore.get_range(self._reading, key, start=start, end=end))

    def get(self, key: str, unless: str | None = None) -> "Answer | None":
        """An object, whose bytes are still to come; None where its ETag is `unless`. Raises FileNotFoundError."""
        with self.plainly(key):
            try:
                found = obstore.get(self._reading, key, options={"if_none_match": unless} if unless else None)
            except NotModifiedError:
                return None
            return Answer(self, key, found)

    def upload(self, key: str, file: Path) -> Seen:
        """Put a file there in one request, which takes effect whole or not at all."""
        size = file.stat().st_size
        if size > PUT_LIMIT:
            raise StorageError(f"{self.shown(key)}: {size / 1e9:.1f} GB are more than the 5 GB that S3 takes in "
                               "one PUT: make it smaller (in stages.yaml a larger decode.stride), or keep the "
                               "artifacts in a folder")
        with open(file, "rb") as opened, self.plainly(key):
            # Not read into memory: a page of the file may go again once it is sent.
            data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
            answer = obstore.put(self.client(60 * (size // (60 * SLOWEST))), key, data, use_multipart=False)
            return Seen(answer["e_tag"] or "", size)

    def put(self, key: str, content: bytes, expected: str | None = None) -> str:
        """Put bytes where nothing is yet, or what has the ETag `expected`; returns the new one.

        Raises Taken, and NoConditions from a store that cannot tell.
        """
        mode: Any = {"e_tag": expected} if expected else "create"
        with self.plainly(key):
            try:
                return obstore.put(self.client(0), key, content, mode=mode, use_multipart=False)["e_tag"] or ""
            except (AlreadyExistsError, PreconditionError):
                raise Taken from None
            except NotSupportedError:
                raise NoConditions from None
            except GenericError as error:
                if "NotImplemented" in str(error) or " 501 " in str(error):
                    raise NoConditions from None
                raise

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self.plainly(key):
            obstore.delete(self._reading, key)

    def shown(self, key: str = "") -> str:
        """The URL of an object."""
        return f"{self.url}/{key}".rstrip("/")

    @property
    def _reading(self) -> S3Store:
        return self.client(None)

    def _client(self, seconds: int | None) -> S3Store:
        """A client whose requests may take so long beyond the patience; None: as long as bytes come."""
        address, patience = server(), _patience()
        limits: Any = ({"timeout": "1day", "read_timeout": _ms(patience / 2)} if seconds is None
                  else {"timeout": _ms(patience / 2 + seconds)})
        try:
            return S3Store(
                self.url.bucket, prefix=self.url.prefix or None, virtual_hosted_style_request=False,
                region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
                endpoint=address or None,
                client_options={"allow_http": address.startswith("http://"), **limits,
                                "connect_timeout": _ms(min(CONNECT_S, patience))},
                retry_config={"max_retries": 10, "retry_timeout": timedelta(seconds=patience)})
        except BaseError as error:
            raise StorageError(f"{self.url}: no client can be made ({_clean(str(error))}): check the AWS_ variables of "
                               f"the environment") from None

    @contextmanager
    def plainly(self, key: str = "") -> Iterator[None]:
        """Errors of obstore as FileNotFoundError of an object, else as a StorageError."""
        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" not in str(error):
                raise FileNotFoundError(f"no object {self.shown(key)}") from None
            raise self._no_bucket() from None
        except BaseError as error:
            raise self._explained(error, key) from None

    def _no_bucket(self) -> StorageError:
        return StorageError(f"there is no bucket {self.url.bucket!r} at {_there()}: make it there, or correct the URL; "
                            f"AWS_ENDPOINT_URL names the store, AWS_REGION the region")

    def _explained(self, error: BaseError, key: str) -> StorageError:
        text, what = str(error), self.shown(key)
        if "NoSuchBucket" in text:
            return self._no_bucket()
        status, code = (found[1] if (found := re.search(pattern, text)) else ""
                        for pattern in (r"status code: (\d{3}[^:]*)", r"<Code>(\w+)</Code>"))
        if isinstance(error, PermissionDeniedError | UnauthenticatedError) or status[:3] in ("401", "403"):
            return StorageError(f"{what}: the store at {_there()} refuses this ({code or 'denied'}): check "
                                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they may list, read, write and "
                                "delete there")
        if not any(map(os.environ.get, (*KEYS, *OTHER_KEYS))) and "AWS_SKIP_SIGNATURE" not in os.environ:
            return StorageError(f"{what}: no keys, and nobody who would lend some: set AWS_ACCESS_KEY_ID and "
                                "AWS_SECRET_ACCESS_KEY")
        if status:
            remedy = "set AWS_REGION to the bucket's" if status[:3] == "301" else "look there for what ails it"
            return StorageError(f"{what}: the store at {_there()} answers {status} {code}: {remedy}. {AGAIN}")
        return StorageError(f"{what}: no answer from {_there()} ({_clean(text)}): check the network and "
                            f"AWS_ENDPOINT_URL. {AGAIN}")


def _seen(meta: Any) -> Seen:
    return Seen(meta["e_tag"] or f"{meta['last_modified']}", meta["size"])


def _there() -> str:
    return server() or "Amazon"


def _patience() -> float:
    told = os.environ.get("DBVAD_S3_PATIENCE", "")
    try:
        return max(1.0, float(told)) if told else PATIENCE_S
    except ValueError:
        raise StorageError(f"DBVAD_S3_PATIENCE is {told!r}: a number of seconds is wanted") from None


def _ms(seconds: float) -> str:
    return f"{round(1000 * seconds)}ms"


def _clean(text: str) -> str:
    """The cause in an error's first line, without addresses and keys."""
    line = re.sub(r"https?://\S+", "the store", text.partition("\n")[0])
    for name in KEYS:
        if secret := os.environ.get(name):
            line = line.replace(secret, "***")
    cause = re.search(r"after (\d+) retries.*?- (.*)", line)
    return f"{cause[2]}, tried {int(cause[1]) + 1} times" if cause else line
