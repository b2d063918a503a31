"""How child processes are started and end: spawned, whole, and never without their parent. Imports nothing heavy."""

import ctypes
import multiprocessing as mp
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

# Children are spawned: a decoder or a CUDA context inherited over fork hangs for ever.
SPAWN = mp.get_context("spawn")
INTERRUPTS = {signal.SIGINT, signal.SIGTERM}


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait while a child is started: a half-started one would be in nobody's hands.

    The signals are blocked, which the child inherits, so that none breaks its imports off with a traceback on the
    terminal; and they are kept for later, as another thread of this process may receive them all the same.
    """
    resource_tracker.ensure_running()  # started by the first child otherwise, it would unblock them
    came: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.signal(number, lambda heard, _: came.append(heard)) for number in INTERRUPTS}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for heard in came:
        signal.raise_signal(heard)


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, even by SIGKILL (Linux; elsewhere the pipe's end does)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)


def begin_child(parent: int, log: str = os.devnull) -> None:
    """What a child does first: it dies with its parent, leaves Ctrl-C to it, and prints into a file, if anywhere.

    The terminal belongs to the parent; native libraries print, too.
    """
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
    sys.stdout.flush()
    sys.stderr.flush()
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
