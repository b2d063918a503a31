"""A small process between the describing process and vLLM, so that the server never outlives whoever started it.

vLLM is a family of processes (API server, engine core, workers). This one starts it, waits until its own standard
input closes, which happens however the parent ends, `kill -9` included, and then ends the whole family. The family is
known by a token in the environment that every member inherits, so reparenting, new sessions and reused process ids
cannot hide a member or hit a stranger.

Run by path: `python supervise.py TOKEN GRACE_S COMMAND...`; the exit code is the server's.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

import psutil

TOKEN_VARIABLE = "DBVAD_VLM_SERVER"
POLL_S = 0.1
TRACKERS_S = 2.0
GIVE_UP_S = 30.0  # a process that hangs inside a driver cannot even be killed


def family(token: str) -> list[psutil.Process]:
    """Living processes that carry `token` in their environment, this one excepted."""
    members = []
    for process in psutil.process_iter():
        # A process that has just gone, is a zombie or belongs to someone else is no member.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(TOKEN_VARIABLE) == token:
                members.append(process)
    return members


def end(token: str) -> int:
    """Kill every member, and those they start meanwhile; returns how many there were.

    Python's resource trackers are killed last, and only if they do not end by themselves: they remove the shared
    memory that the others leave behind.
    """
    ended: set[int] = set()
    began = time.monotonic()
    while (members := family(token)) and (spent := time.monotonic() - began) < GIVE_UP_S:
        for process in members:
            ended.add(process.pid)
            if spent > TRACKERS_S or not _is_tracker(process):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        time.sleep(POLL_S / 2)
    return len(ended)


def _is_tracker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return any("multiprocessing.resource_tracker" in word for word in process.cmdline())
    return False


def main(token: str, grace_s: float, command: list[str]) -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True,
                              env={**os.environ, TOKEN_VARIABLE: token})
    try:
        while server.poll() is None:
            if select.select([0], [], [], POLL_S)[0]:  # end of file: nobody holds the other end any more
                break
    finally:
        if server.poll() is None:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(grace_s)
        end(token)
    return server.wait()


if __name__ == "__main__":
    code = main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
    sys.exit(code if code >= 0 else 128 - code)
