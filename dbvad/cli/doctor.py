"""`dbvad doctor`: what this machine has, what works, and what to do about what does not."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dbvad.cli.pipeline import ConfigOption, JsonOption
from dbvad.cli.places import ArtifactsOption

if TYPE_CHECKING:
    from pipeline.engine.place import Url

Verdict = Literal["ok", "note", "fault"]
Check = tuple[str, Verdict, str]  # what was looked at, how it is, what was seen or what to do
PACKAGES = ("torch", "torchvision", "open_clip_torch", "transformers", "decord", "av", "pyarrow", "duckdb", "openai")
LOW_DISK_GB = 5


def doctor(config: ConfigOption = Path("stages.yaml"), artifacts: ArtifactsOption = Path("artifacts"),
           quick: Annotated[bool, typer.Option("--quick", help="Leave out what loads a library.")] = False,
           as_json: JsonOption = False) -> int:
    """Check versions, devices, decoders, configuration, the describing server and disk space."""
    from dbvad.cli.output import print_json, print_table

    parts: list[Callable[[], Iterator[Check]]] = [_versions, lambda: _disk(artifacts), lambda: _configuration(config)]
    if not quick:
        parts += [_devices, _decoders]
    checks: list[Check] = []
    for part in parts:
        try:
            checks += part()
        except Exception as error:  # a doctor that dies of the illness is no help
            checks.append((getattr(part, "__name__", "check").strip("_"), "fault", f"{type(error).__name__}: {error}"))
    (print_json if as_json else print_table)(["check", "state", "what was seen, what to do"], checks)
    return 1 if any(verdict == "fault" for _, verdict, _ in checks) else 0


def _versions() -> Iterator[Check]:
    from importlib.metadata import PackageNotFoundError, version

    yield "python", "ok", sys.version.split()[0]
    for package in PACKAGES:
        try:
            yield package, "ok", version(package)
        except PackageNotFoundError:
            if package == "decord":
                continue  # decord2 stands in for it on other machines than x86-64
            yield package, "fault", "not installed: run `make setup`, or pip install dbvad"


def _disk(artifacts: Path) -> Iterator[Check]:
    from pipeline.engine.place import ORIGIN, origin

    if artifacts.exists() and not (artifacts.is_dir() and os.access(artifacts, os.W_OK)):
        yield "artifacts", "fault", f"{artifacts} is no folder that can be written to: name another with --artifacts"
    if (artifacts / ORIGIN).exists():
        yield from _store("artifacts", origin(artifacts))
    place = artifacts if artifacts.is_dir() else Path()
    free = shutil.disk_usage(place).free / 2**30
    remedy = "" if free > LOW_DISK_GB else ": make room, or name another folder with --artifacts"
    yield "disk space", "ok" if free > LOW_DISK_GB else "fault", f"{free:.1f} GB free at {place.resolve()}{remedy}"


def _store(what: str, url: "Url") -> Iterator[Check]:
    from pipeline.engine.place import StorageError, objects_below

    try:
        next(objects_below(url).list(), None)
        yield what, "ok", f"{url} answers"
    except StorageError as error:
        yield what, "fault", str(error)


def _configuration(config: Path) -> Iterator[Check]:
    from pipeline import stages
    from pipeline.engine.config import ConfigError

    if not config.exists():
        yield "stages file", "note", f"none at {config}: the pipeline needs one, --config names it"
        return
    try:
        read = stages.read(config)
    except ConfigError as error:
        yield "stages file", "fault", str(error)
        return
    yield "stages file", "ok", f"{config}, videos at {read.dataset.videos}"
    if not isinstance(read.dataset.videos, Path):
        yield from _store("videos", read.dataset.videos)
    elif not read.dataset.videos.is_dir():
        yield "videos", "fault", f"no folder {read.dataset.videos}: set dataset.videos"
    if read.describe.engine == "vllm":
        yield from _servers(read.describe.vllm.base_urls, read.describe.vllm.api_key_env, read.describe.vllm.python)


def _servers(urls: tuple[str, ...], key_env: str | None, python: str | None) -> Iterator[Check]:
    import openai

    from pipeline.instruments.vlm import EngineError
    from pipeline.instruments.vlm.managed import find_python

    if not urls:
        try:
            yield "vLLM", "ok", f"will be started by {find_python(python)}"
        except EngineError as error:
            yield "vLLM", "fault", str(error)
    for url in urls:
        key = os.environ.get(key_env, "") if key_env else ""
        try:
            served = openai.OpenAI(base_url=url, api_key=key or "none", timeout=5, max_retries=0).models.list()
            yield f"vLLM at {url}", "ok", "serves " + ", ".join(model.id for model in served)
        except openai.OpenAIError as error:
            yield f"vLLM at {url}", "fault", f"{error}: start the server there, or correct describe.vllm.base_urls"


def _devices() -> Iterator[Check]:
    import torch

    from pipeline.instruments.hardware import pick_precision

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            seen = torch.cuda.get_device_properties(number)
            yield f"GPU {number}", "ok", f"{seen.name}, {seen.total_memory / 2**30:.0f} GB"
    else:
        yield "GPU", "note", "none: features and descriptions are made on the CPU, some hundred times slower"
    fast = pick_precision("auto", torch.device("cpu")) == "bf16"
    bf16 = "multiplies in bfloat16" if fast else "no bfloat16: models run in float32"
    yield "CPU", "ok", f"{os.cpu_count()} cores, {bf16}"


def _decoders() -> Iterator[Check]:
    from pipeline.instruments import selftest

    with tempfile.TemporaryDirectory() as folder:
        clip = selftest.write_clip(Path(folder) / "clip.mp4")
        for decoder in ("decord", "pyav"):
            wrong = selftest.wrong_frames(clip, decoder)
            if wrong is None:
                yield decoder, "note", "not usable here; PyAV takes all videos (decode.decoder: pyav)"
            elif wrong:
                yield decoder, "fault", f"{wrong} of {selftest.FRAMES} frames wrong: set decode.decoder to the other"
            else:
                yield decoder, "ok", f"{selftest.FRAMES} generated frames, each at its index"
