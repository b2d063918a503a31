"""Which of several servers takes the next request, and what becomes of one that fails."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import openai

from pipeline.instruments.vlm import EngineError


@dataclass(eq=False)
class Endpoint:
    """A server as the pool sees it; touched by one event loop only.

    `model`: the name to ask for, "" until the server has shown that it serves it. `answers`: how many so far, which
    tells a slow request from a server that answers nobody. `losses`: how often it was taken out; `reason`: why lastly.
    """

    client: openai.AsyncOpenAI
    model: str = ""
    outstanding: int = 0
    answers: int = 0
    losses: int = 0
    reason: str = ""
    rests_until: float = 0.0
    up: bool = True
    down_since: float = 0.0
    verdict: asyncio.Task[bool] | None = field(default=None, repr=False)


class Pool:
    """Servers balanced by outstanding requests. Lives in one event loop.

    `probe(endpoint)` says whether it is well; `revive(endpoint)` returns once a lost one is well again, and raises
    EngineError if it never will be: then the whole pool has failed, and says so to everyone.
    """

    def __init__(self, endpoints: list[Endpoint], probe: Callable[[Endpoint], Awaitable[bool]],
                 revive: Callable[[Endpoint], Awaitable[None]]) -> None:
        self.endpoints = endpoints
        self._probe, self._revive = probe, revive
        self._failure: EngineError | None = None
        self._changed = asyncio.Condition()
        self._revivals: set[asyncio.Task[None]] = set()

    async def acquire(self) -> Endpoint:
        """The server with the fewest requests outstanding, rested ones first; waits while all are out.

        Raises EngineError once the pool has failed. The caller gives it back with `release`.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._failure or any(e.up for e in self.endpoints))
        if self._failure:
            raise self._failure
        now = asyncio.get_running_loop().time()
        endpoint = min((e for e in self.endpoints if e.up), key=lambda e: (e.rests_until > now, e.outstanding))
        endpoint.outstanding += 1
        return endpoint

    def release(self, endpoint: Endpoint) -> None:
        endpoint.outstanding -= 1

    async def examine(self, endpoint: Endpoint, reason: str, *, hung: bool) -> None:
        """Take a server out that failed a request for `reason` if it is not well, or is known to be `hung`."""
        if endpoint.up and hung:
            self.take_out(endpoint, reason)
        elif endpoint.up:
            if endpoint.verdict is None or endpoint.verdict.done():  # many requests fail at once: one probe for all
                endpoint.verdict = asyncio.ensure_future(self._probe(endpoint))
            losses = endpoint.losses
            well = await asyncio.shield(endpoint.verdict)
            if not well and endpoint.up and endpoint.losses == losses:
                self.take_out(endpoint, reason)

    def take_out(self, endpoint: Endpoint, reason: str) -> None:
        """Send no more requests to a server until it is revived, which begins now."""
        endpoint.up, endpoint.down_since = False, asyncio.get_running_loop().time()
        endpoint.losses, endpoint.reason = endpoint.losses + 1, reason
        revival = asyncio.create_task(self._bring_back(endpoint))
        self._revivals.add(revival)
        revival.add_done_callback(self._revivals.discard)

    async def fail(self, error: EngineError) -> None:
        """Tell everyone that waits, now and later, that the engine cannot go on."""
        async with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    async def close(self) -> None:
        for revival in list(self._revivals):
            revival.cancel()
        await asyncio.gather(*self._revivals, return_exceptions=True)
        for endpoint in self.endpoints:
            with contextlib.suppress(Exception):
                await endpoint.client.close()

    async def _bring_back(self, endpoint: Endpoint) -> None:
        try:
            await self._revive(endpoint)
        except EngineError as error:
            await self.fail(error)
            return
        except Exception as error:
            await self.fail(EngineError(f"a lost server could not be brought back: {type(error).__name__}: {error}"))
            return
        async with self._changed:
            endpoint.up = True
            self._changed.notify_all()
