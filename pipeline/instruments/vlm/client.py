"""One attempt at one request through the openai package, and what a failure means."""

import asyncio
import base64
import json
import re
import time
from typing import Any

import openai

from pipeline.instruments.vlm import Answer, EngineError, Request, RequestError

PERMANENT = {400, 404, 405, 406, 411, 413, 414, 415, 422, 431, 451}
REMEDIES = (  # (words of the server's message, kind, remedy)
    (r"context length|max_tokens|max_completion_tokens|longer than the maximum|too many tokens", "too_long",
     "raise max_model_len, or lower the number of key frames, max_pixels or max_tokens"),
    (r"at most \d+ image", "too_many_images", "raise max_images, or select fewer key frames"),
    (r"image|aspect ratio|pixel|base64", "bad_image", "look at the key frames of this video; decode it again"),
)


# The closing token under the names of other servers (text-generation-inference, hosted APIs), in lower case.
OWN_END = {"stop", "eos", "eos_token", "end_turn"}


class Transient(Exception):
    """An attempt failed in a way that the next one may not.

    `kind`: "timeout", "limited" (429), "refused" (never reached the server), "cut", "garbage" or "server_error".
    """

    def __init__(self, kind: str, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.retry_after_s = kind, reason, retry_after_s


def connect(base_url: str, api_key: str | None, *, local: bool) -> openai.AsyncOpenAI:
    """A client that retries nothing by itself; a `local` server is never asked through a proxy."""
    return openai.AsyncOpenAI(
        base_url=base_url, api_key=api_key or "none", max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False) if local else None)


def conversation(request: Request) -> list[Any]:
    """One user message: every image in order as a data URL, then the prompt."""
    images: list[Any] = [
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"}}
        for image in request.images]
    return [{"role": "user", "content": [*images, {"type": "text", "text": request.prompt}]}]


async def ask(client: openai.AsyncOpenAI, model: str, request: Request, messages: list[Any], *, timeout_s: float,
              max_pixels: int | None = None) -> Answer:
    """Send `request`, whose `conversation` is `messages`, once. Raises RequestError, EngineError, Transient.

    `max_pixels` is sent along; vLLM heeds it if it was started with `--trust-request-mm-kwargs`, else refuses.
    """
    extra = {"mm_processor_kwargs": {"max_pixels": max_pixels}} if max_pixels else None
    started = time.perf_counter()
    try:
        async with asyncio.timeout(timeout_s):  # hard: a server that drips bytes keeps any socket timeout from firing
            completion = await client.chat.completions.create(
                model=model, messages=messages, max_tokens=request.max_tokens, temperature=request.temperature,
                seed=request.seed, extra_body=extra, timeout=timeout_s)
    except Exception as error:
        raise fault(error, timeout_s) from None
    latency_ms = (time.perf_counter() - started) * 1000
    try:
        choice, usage = completion.choices[0], completion.usage
        # JSON may spell halves of characters, which no file takes.
        text = str(choice.message.content or "").encode(errors="replace").decode()
        return Answer(text=text.strip(), finish_reason=_ending(choice.finish_reason),
                      prompt_tokens=int(usage.prompt_tokens) if usage else 0,
                      output_tokens=int(usage.completion_tokens) if usage else 0, latency_ms=latency_ms)
    except (AttributeError, LookupError, TypeError, ValueError):  # openai hands on whatever JSON, or text, it was sent
        raise Transient("garbage", f"an answer that is no chat completion: {str(completion)[:200]!r}") from None


def _ending(reason: object) -> str:
    """ "stop" where the model ended its answer, else the server's own word, "null" if it gave none."""
    word = "null" if reason is None else str(reason)
    return "stop" if word.lower() in OWN_END else word


async def served_name(client: openai.AsyncOpenAI, model: str, revision: str | None, *, timeout_s: float) -> str:
    """The name to ask the server for `model` by, once its list of models shows that it serves it.

    The list says nothing of revisions by itself. One counts as served if the server also goes by `model@revision` (as
    ours do; elsewhere by vLLM's `--served-model-name`), or if its `root` is a folder of that revision, as in the hub's
    cache. Raises EngineError, naming what is served; Transient if it cannot be asked.
    """
    try:
        async with asyncio.timeout(timeout_s):
            listing = await client.models.list(timeout=timeout_s)
    except Exception as error:
        found = fault(error, timeout_s)
        if isinstance(found, RequestError):
            found = EngineError(f"{client.base_url} lists no models ({found.reason}); base_urls usually end in /v1")
        raise found from None
    try:
        cards = {str(card.id): card for card in listing.data}
    except (AttributeError, TypeError):
        raise Transient("garbage", "an answer that is no list of models") from None
    served = f"{client.base_url} serves {', '.join(sorted(cards)) or 'no model'}"
    if model not in cards:
        raise EngineError(f"{served}, not {model}: name the model as the server does, or start the server with "
                          f"--served-model-name {model}")
    if not revision or revision in str(getattr(cards[model], "root", "") or "").split("/"):
        return model
    if (pinned := f"{model}@{revision}") in cards:
        return pinned
    raise EngineError(f"{served}, and does not say that this is revision {revision}: start it with --revision "
                      f"{revision} --served-model-name {model} {pinned}, or leave the revision out")


def fault(error: Exception, timeout_s: float) -> Exception:
    """What a failed attempt means: RequestError (permanent), EngineError (the key), Transient, or `error` itself."""
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return Transient("timeout", f"no answer within {timeout_s:g} s")
    if isinstance(error, openai.APIStatusError):
        return _status_fault(error)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__ or error
        kind = "refused" if type(cause).__name__ in ("ConnectError", "ConnectTimeout") else "cut"
        return Transient(kind, f"connection {kind} ({type(cause).__name__}: {cause})")
    if isinstance(error, openai.APIResponseValidationError | json.JSONDecodeError | UnicodeDecodeError):
        return Transient("garbage", f"an answer that is no JSON ({type(error).__name__}: {error})"[:300])
    return error


def _status_fault(error: openai.APIStatusError) -> Exception:
    code = error.status_code
    if code in (401, 403):  # servers quote the key in the message, so it is not shown
        return EngineError(f"{error.request.url.host} refuses the API key (HTTP {code}): set api_key_env to the "
                           "environment variable that holds the right one")
    reason = f"HTTP {code}: {_message(error)}"
    if "--trust-request-mm-kwargs" in reason:
        return EngineError(f"{error.request.url.host} takes no max_pixels from a client: start it with "
                           "--trust-request-mm-kwargs, or leave max_pixels out and start it with "
                           "--mm-processor-kwargs '{\"max_pixels\": ...}'")
    if code in PERMANENT:
        for words, kind, remedy in REMEDIES:
            if re.search(words, reason, re.IGNORECASE):
                return RequestError(kind, reason, remedy)
        return RequestError("rejected", reason, "the server's message says why it does not take this request")
    return Transient("limited" if code == 429 else "server_error", reason, _retry_after(error))


def _message(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body
    return " ".join(str(body or error.response.text).split())[:300]


def _retry_after(error: openai.APIStatusError) -> float | None:
    try:
        return max(0.0, float(error.response.headers["retry-after"]))
    except (KeyError, ValueError):  # absent, or a date, which servers of models do not send
        return None
