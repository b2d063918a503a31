"""Describing by vLLM's OpenAI-compatible server: one started and managed here, or running ones elsewhere."""

import asyncio
import contextlib
import os
import random
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pipeline.instruments.vlm import Answer, EngineError, Request, RequestError
from pipeline.instruments.vlm.client import Transient, ask, connect, conversation, served_name
from pipeline.instruments.vlm.endpoints import Endpoint, Pool
from pipeline.instruments.vlm.managed import VllmServer
from pipeline.instruments.vlm.options import VllmOptions

MAX_BACKOFF_S = 15.0
PROBE_TIMEOUT_S = 20.0
# A request in flight at this many losses of a server is suspected and goes on alone; at one more it is given up.
SUSPICIOUS_LOSSES = 2
GIVEN_UP_IN_A_ROW = 8  # with no answer in between, the servers are at fault and not the requests


T = TypeVar("T")


class VllmEngine:
    """An Engine that speaks to vLLM by HTTP; `describe` is called from many threads, of which `in_flight` are let on.

    A lost or hung server is restarted (managed) or taken out and probed again (remote), and what was in flight is sent
    again, so a request ends in exactly one of: its answer, RequestError, EngineError. `logs` is the folder for a
    managed server's log; `progress` is told how its start goes, and of servers lost and found. All requests share one
    event loop in a thread of its own, where a deadline can cut off a call that hangs.
    """

    def __init__(self, model: str, revision: str | None = None, options: VllmOptions | None = None, *,
                 max_pixels: int | None = None, in_flight: int = 32, logs: str | Path = "vllm-logs",
                 progress: Callable[[str], None] | None = None) -> None:
        self.options = options or VllmOptions()
        if not self.options.base_urls and Path(model).is_dir():
            revision = None  # a revision is of a hub's model
        self.model, self.revision = model, revision or ""
        self._progress = progress or (lambda message: None)
        self._server = None if self.options.base_urls else VllmServer(
            model, revision, self.options, logs=logs, max_pixels=max_pixels, progress=progress)
        self._max_pixels = None if self._server else max_pixels  # ours is started with it
        self._api_key = _key_from(self.options.api_key_env)
        self._in_flight = in_flight
        self._restarts = 0
        self._given_up = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> "VllmEngine":
        """Start or find the servers. Raises EngineError."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm-client", daemon=True)
        self._thread.start()
        try:
            if self._server:
                self._server.start()
            self._wait_for(self._open())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        if self._server:
            self._server.stop()
        loop, self._loop = self._loop, None
        if loop is None:
            return
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(10)
        loop.close()

    def describe(self, request: Request) -> Answer:
        """Answer one request, however many attempts it takes within bounds. Raises RequestError, EngineError."""
        return self._wait_for(self._describe(request, conversation(request)))

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise EngineError("the vLLM engine is not open: use it in a `with` statement")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise EngineError("the vLLM engine was closed while it worked") from None
        except BaseException:
            future.cancel()
            raise

    async def _open(self) -> None:
        self._alone = asyncio.Lock()
        self._slots = asyncio.Semaphore(self._in_flight)
        if self._server:
            endpoints = [Endpoint(connect(self._server.base_url, self._server.api_key, local=True))]
        else:
            endpoints = [Endpoint(connect(url, self._api_key, local=False)) for url in self.options.base_urls]
        self._pool = Pool(endpoints, self._well, self._restart if self._server else self._find_again)
        silent = {}
        for endpoint, found in zip(endpoints, await asyncio.gather(
                *map(self._identify, endpoints), return_exceptions=True), strict=True):
            if isinstance(found, Transient):
                silent[endpoint] = found.reason
            elif isinstance(found, BaseException):
                raise found
        if len(silent) == len(endpoints):
            reasons = "; ".join(f"{endpoint.client.base_url}: {why}" for endpoint, why in silent.items())
            raise EngineError(f"no server answers: {reasons}. Check the addresses, and that the servers run")
        for endpoint, reason in silent.items():
            self._pool.take_out(endpoint, reason)

    async def _close(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await self._pool.close()

    async def _describe(self, request: Request, messages: list[Any]) -> Answer:
        failures, losses, limited_s = 0, 0, 0.0
        while True:
            async with self._alone if losses >= SUSPICIOUS_LOSSES else contextlib.nullcontext():
                async with self._slots:
                    endpoint = await self._pool.acquire()
                    answers, losses_before = endpoint.answers, endpoint.losses
                    try:
                        answer = await ask(endpoint.client, endpoint.model, request, messages,
                                           timeout_s=self.options.request_timeout_s, max_pixels=self._max_pixels)
                    except Transient as fault:
                        failed = fault
                    except RequestError:
                        self._answered(endpoint)
                        raise
                    except EngineError as error:
                        await self._pool.fail(error)
                        raise
                    else:
                        self._answered(endpoint)
                        return answer
                    finally:
                        self._pool.release(endpoint)
                pause = self._pause(failed, failures)
                endpoint.rests_until = asyncio.get_running_loop().time() + pause
                await asyncio.sleep(pause)
                if failed.kind == "limited":
                    limited_s += pause
                else:
                    hung = failed.kind == "timeout" and endpoint.answers == answers
                    if endpoint.losses == losses_before:
                        await self._pool.examine(endpoint, failed.reason, hung=hung)
                    lost = endpoint.losses > losses_before
                    if lost and failed.kind == "refused":
                        continue  # it never reached the server, so it is no attempt
                    failures, losses = failures + 1, losses + lost
            if (failures >= self.options.attempts or losses > SUSPICIOUS_LOSSES
                    or limited_s > self.options.outage_timeout_s):
                raise await self._give_up(failed, losses)

    def _answered(self, endpoint: Endpoint) -> None:
        endpoint.answers += 1
        self._restarts = self._given_up = 0

    def _pause(self, fault: Transient, failures: int) -> float:
        if fault.retry_after_s is not None:
            return min(fault.retry_after_s, self.options.outage_timeout_s) + random.uniform(0, self.options.backoff_s)
        return min(self.options.backoff_s * 2**failures, MAX_BACKOFF_S) * random.uniform(0.5, 1.5)

    async def _give_up(self, fault: Transient, losses: int) -> Exception:
        self._given_up += 1
        if self._given_up >= GIVEN_UP_IN_A_ROW:
            error = EngineError(f"{self._given_up} requests in a row were given up and none was answered; the last "
                                f"one: {fault.reason}.{self._where_to_look()}")
            await self._pool.fail(error)
            return error
        if losses > SUSPICIOUS_LOSSES:
            return RequestError("server_lost", f"the server was lost {losses} times while it worked on this "
                                f"({fault.reason})", "see the server's log; run again with --retry-failed")
        remedy = ("raise request_timeout_s, or lower the requests in flight" if fault.kind == "timeout"
                  else "see the server's log; run again with --retry-failed")
        return RequestError(fault.kind, f"given up after {self.options.attempts} attempts: {fault.reason}", remedy)

    async def _identify(self, endpoint: Endpoint) -> None:
        timeout_s = min(PROBE_TIMEOUT_S, self.options.request_timeout_s)
        endpoint.model = await served_name(endpoint.client, self.model, self.revision, timeout_s=timeout_s)

    async def _well(self, endpoint: Endpoint) -> bool:
        if self._server and not self._server.running:
            return False
        try:
            await self._identify(endpoint)
        except Transient as fault:
            return fault.kind == "limited"
        except EngineError:
            return False
        return True

    async def _restart(self, endpoint: Endpoint) -> None:
        assert self._server is not None
        reason = f"it was lost ({endpoint.reason})"
        while self._restarts < self.options.max_restarts:
            self._restarts += 1
            self._progress(f"vLLM is started again, for {reason}")
            try:
                await asyncio.to_thread(self._server.restart)
                await endpoint.client.close()
                endpoint.client = connect(self._server.base_url, self._server.api_key, local=True)
                return await self._identify(endpoint)
            except (EngineError, Transient) as error:  # a GPU, for one, is not always free at once
                reason = str(error)
                await asyncio.sleep(2 * self.options.backoff_s)
        raise EngineError(f"vLLM was restarted {self._restarts} times without one answer; {reason}. If it is only "
                          f"slow, raise request_timeout_s or lower the requests in flight.{self._where_to_look()}")

    async def _find_again(self, endpoint: Endpoint) -> None:
        url, pause = endpoint.client.base_url, 2 * self.options.backoff_s
        self._progress(f"{url} is left out ({endpoint.reason}) and probed until it is back")
        while True:
            try:
                await self._identify(endpoint)
                self._progress(f"{url} is back")
                return
            except Transient as fault:
                silent_s = asyncio.get_running_loop().time() - max(e.down_since for e in self._pool.endpoints)
                if silent_s > self.options.outage_timeout_s and not any(e.up for e in self._pool.endpoints):
                    raise EngineError(f"no server has answered for {silent_s:.0f} s, the last one tried: "
                                      f"{url}: {fault.reason}. Start the servers again; a run that "
                                      "has ended is run again: what is described stays described") from fault
            await asyncio.sleep(pause)
            pause = min(2 * pause, 30.0)

    def _where_to_look(self) -> str:
        return f" Its log, {self._server.log}, says why" if self._server else ""


def _key_from(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise EngineError(f"api_key_env names the environment variable {variable}, which is not set: export it first")
    return key
