"""Ctrl-C, SIGTERM, kill -9 and a second run: nothing half done, nothing left running, nothing lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import psutil
import pytest

from pipeline.engine.lock import Busy, exclusive
from tests.engine.world import World

TEXTS = {letter: f"one {letter}" for letter in "abcdefgh"} | {"x": "words!bad", "y": "upper!error"}


def start(world: World, seconds: float = 0.15, workers: int = 2) -> subprocess.Popen[str]:
    """A run in a process (and a process group) of its own."""
    return subprocess.Popen([sys.executable, "-m", "tests.engine.toy_run", str(world.root), str(seconds), str(workers)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def no_member(group: int) -> bool:
    """Whether no process of a process group lives."""
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return False
        except (OSError, psutil.Error):
            continue
    return True


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An uninterrupted run."""
    world = World(tmp_path_factory.mktemp("whole")).write(**TEXTS)
    world.run()
    return world


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_its_children_quietly_and_leaves_no_half_file(world: World, whole: World,
                                                                              number: signal.Signals) -> None:
    run = start(world.write(**TEXTS))
    wait_for(lambda: any(world.store.shards("upper")))
    os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
    _, errors = run.communicate(timeout=60)
    assert (run.returncode, errors) == (130, "")
    wait_for(partial(no_member, run.pid), seconds=20)
    assert world.leftovers() == []
    (log,) = (world.store.root / "runs").glob("*.jsonl")
    assert json.loads(log.read_text().splitlines()[-1])["error"] == "KeyboardInterrupt: "
    done = world.rows()
    assert 0 < len(done) < len(whole.rows())
    assert done.items() <= whole.rows().items()


def test_ctrl_c_while_children_start_prints_nothing(world: World) -> None:
    run = start(world.write(**TEXTS))
    wait_for(lambda: any(child.name().startswith("python") for child in psutil.Process(run.pid).children()))
    time.sleep(0.1)
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert (run.returncode, errors) == (130, "")


def test_killed_at_any_moment_a_run_goes_on_where_it_was(world: World, whole: World) -> None:
    world.write(**TEXTS)
    moments, kills = random.Random(1), 0
    while kills < 8:
        run = start(world, 0.2, workers=1)
        try:
            run.communicate(timeout=moments.uniform(0.3, 1.5))
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
            wait_for(partial(no_member, run.pid), seconds=20)
            kills += 1
        else:
            assert run.returncode == 0
            break  # it came to its end between two kills
    assert kills >= 2  # ten videos of 0.2 s a stage take longer than the first two moments
    world.run()
    assert world.rows() == whole.rows()
    assert world.leftovers() == []
    assert world.states() == whole.states()
    again = [unit for unit, times in world.begun().items() if times > 1]
    assert len(again) <= kills * 2  # two stages at a time, each with one video in flight


def test_only_one_run_at_a_time(world: World) -> None:
    with exclusive(world.write(a="one").store.root):
        with pytest.raises(Busy, match=f"another run \\(process {os.getpid()}\\) is at work"):
            world.run()
        assert world.begun() == {}
    assert world.run().count("done") == 3


def test_the_lock_of_a_killed_run_is_free(world: World) -> None:
    run = start(world.write(**TEXTS), 10)
    wait_for(lambda: bool(world.calls()))
    with pytest.raises(Busy, match=f"process {run.pid}"):
        world.run()
    run.kill()
    run.communicate()
    with exclusive(world.store.root):
        pass


def test_what_a_dead_run_left_is_swept_by_the_next(finished: World) -> None:
    for folder in ("", "words", "upper/deeper", "quarantine/words"):
        path = finished.store.root / folder / ".a.txt.parquet.tmp-1-1"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    others = finished.store.root / "cache" / ".features.tmp-1-1"
    others.parent.mkdir()
    others.touch()
    finished.run()
    assert finished.leftovers() == [others.name]
