"""A stand-in for vLLM's OpenAI-compatible server, in the standard library, with faults on demand.

A prompt asks for its own faults: `fault=500*2` makes its first two attempts fail, `ends=abort*2` gives their answers
that reason to end ("null" for none). What the server saw is kept in files
under $FAKE_STATE, so that counts survive its restarts: `seen` (a line a request) and `answered` (a line an answer).
As vLLM does, it has a second process (the engine core), here in a session of its own to make escape easy.
With `--upstream URL` it is a bad network before a real server: what no fault strikes is handed on, and answered there.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STATE = Path(os.environ["FAKE_STATE"])
LOCK = threading.Lock()
START_FAULTS = {
    "oom": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "model": "OSError: nowhere/x is not a local folder and is not a valid model identifier listed on the hub",
    "port": "OSError: [Errno 98] Address already in use",
    "import": "ImportError: libcudart.so.13: undefined symbol: cudaLaunch",
    "odd": "something nobody has seen before",
}


def count(name: str, line: str) -> int:
    """Append `line` to a state file; how often it is there now. Line breaks become blanks."""
    line = " ".join(line.splitlines())
    with LOCK:
        with (STATE / name).open("a") as file:
            file.write(line + "\n")
        return (STATE / name).read_text().splitlines().count(line)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    names: tuple[str, ...] = ()
    upstream: str | None = None
    core: "subprocess.Popen[bytes]"

    def log_message(self, *args: object) -> None:
        pass

    def reply(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def from_upstream(self, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and answer of the server behind this one, asked the same."""
        headers = {name: self.headers[name] for name in ("Authorization", "Content-Type") if self.headers[name]}
        request = urllib.request.Request(f"{self.upstream}{self.path}", body, headers)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def allowed(self) -> bool:
        key = os.environ.get("VLLM_API_KEY")
        if key and self.headers["Authorization"] != f"Bearer {key}":
            self.reply(401, {"error": {"message": f"bad key {self.headers['Authorization']}"}})
            return False
        return True

    def do_GET(self) -> None:
        if self.upstream:
            self.reply(*self.from_upstream())
        elif self.path != "/v1/models":
            self.reply(404, {"detail": "Not Found"})
        elif self.allowed():
            self.reply(200, {"object": "list", "data": [
                {"id": name, "object": "model", "created": 0, "owned_by": "fake", "root": os.environ.get("FAKE_ROOT")}
                for name in self.names]})

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(data)
        if not self.allowed():
            return
        if "FAKE_STRICT" in os.environ and "mm_processor_kwargs" in body:
            self.reply(400, {"error": {"message": "disabled; start the server with --trust-request-mm-kwargs"}})
            return
        *images, text = body["messages"][0]["content"]
        prompt = text["text"]
        attempt = count("seen", prompt)
        time.sleep(float(os.environ.get("FAKE_LATENCY", "0")))
        if self.core.poll() is not None:
            self.reply(500, {"error": {"message": "EngineCore died"}})
            return
        fault = re.search(r"fault=(\w+)(?:\*(\d+))?", prompt)
        if fault and attempt <= int(fault[2] or 1):
            self.fail(fault[1])
            return
        if self.upstream:
            status, answer = self.from_upstream(data)
            if status == 200:
                count("answered", prompt)
            self.reply(status, answer)
            return
        asked = {name: body.get(name) for name in ("model", "temperature", "seed", "max_tokens", "mm_processor_kwargs")}
        count("answered", prompt)
        ends = re.search(r"ends=(\w+)(?:\*(\d+))?", prompt)
        reason = ends[1] if ends and attempt <= int(ends[2] or 1) else "stop"
        self.reply(200, {
            "id": "x", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "finish_reason": None if reason == "null" else reason, "message": {
                "role": "assistant", "content": f" {len(images)} images: {prompt} {json.dumps(asked)}\n"}}],
            "usage": {"prompt_tokens": 10 + len(images), "completion_tokens": 7, "total_tokens": 17 + len(images)}})

    def fail(self, fault: str) -> None:
        if fault.isdigit():
            headers = {"Retry-After": "0.3"} if fault in ("429", "503") else {}
            self.reply(int(fault), {"error": {"message": f"fault {fault}", "code": int(fault)}}, headers)
        elif fault == "html":
            self.reply(200, b"<html>gateway</html>", {"Content-Type": "text/html"})
        elif fault == "badjson":
            self.reply(200, b'{"choices": [')
        elif fault == "nochoices":
            self.reply(200, {"object": "error", "message": "no"})
        elif fault == "slow":
            time.sleep(60)
        elif fault == "drip":  # keeps a socket timeout from ever firing
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            for _ in range(600):
                self.wfile.write(b" ")
                time.sleep(0.1)
        elif fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices"')
            self.wfile.flush()
            self.close_connection = True
        elif fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "worker":  # the engine core dies: 500s, then the API server goes too
            self.core.kill()
            self.core.wait()
            threading.Timer(0.2, os._exit, (1,)).start()
            self.reply(500, {"error": {"message": "EngineCore died"}})
        elif fault == "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            raise ValueError(fault)


def main() -> None:
    parser = argparse.ArgumentParser("api_server.py")
    for flag in ("--model", "--revision", "--host", "--dtype", "--limit-mm-per-prompt", "--mm-processor-kwargs",
                 "--gpu-memory-utilization", "--quantization", "--seed", "--max-model-len", "--max-num-seqs",
                 "--tensor-parallel-size", "--data-parallel-size"):
        parser.add_argument(flag)
    parser.add_argument("--port", type=int)
    parser.add_argument("--upstream")
    parser.add_argument("--served-model-name", nargs="+")
    parser.add_argument("--disable-uvicorn-access-log", action="store_true")
    parser.add_argument("--enforce-eager", action="store_true")
    parser.add_argument("--no-enable-chunked-prefill", action="store_true")
    given = parser.parse_args()
    (STATE / "command").write_text(" ".join(sys.argv[1:]))
    (STATE / "environment").write_text(json.dumps(dict(os.environ)))
    starts = count("starts", "start")
    fault, _, times = os.environ.get("FAKE_START", "").partition("*")
    if fault and starts <= int(times or 1000):
        if fault == "silent":
            time.sleep(60)
        sys.exit(START_FAULTS[fault])
    Handler.names, Handler.upstream = tuple(given.served_model_name), given.upstream
    Handler.core = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer((given.host, given.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
