"""Runs on the nodes of a Ray cluster: what comes out is what one machine makes, whoever dies on the way."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline.engine import on_ray as engine
from pipeline.engine.cluster import Needs, RayCluster
from pipeline.engine.hand import Hand
from pipeline.engine.on_ray import Away, Crew, NoCluster, on_ray
from tests.engine.nodes import Nodes, nodes
from tests.engine.test_interruptions import wait_for
from tests.engine.toys import Toy
from tests.engine.world import World

TEXTS = {letter: f"one {letter}" for letter in "abcdefgh"} | {"x": "words!bad", "y": "upper!abort"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    """One node of two CPUs."""
    with nodes(2) as started:
        yield started
        assert started.quiet()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The tables of a run without Ray."""
    world = World(tmp_path_factory.mktemp("alone")).write(**TEXTS)
    world.run(chain(world))
    return world.rows()


def chain(world: World, workers: int = 2) -> list[Toy]:
    """Two stages are enough to hand on from one to another."""
    return world.chain(seconds=0.2, workers=workers)[:2]


def first(tables: dict[str, Any]) -> dict[str, Any]:
    """Those of the first stage, which is enough where nothing is handed on: every process takes its time to start."""
    return {path: rows for path, rows in tables.items() if "words/" in path}


def run_on(cluster: Nodes, world: World, stages: list[Toy] | None = None, needs: Needs = Needs(cpus=1),
           wait_s: float = 60) -> World:
    """`world.run` on the cluster; what was printed is in its `output`, all that Ray would have printed too."""
    stages = stages or chain(world)
    place, wanted = RayCluster(address=cluster.address, wait_s=wait_s), {stage.name: needs for stage in stages}
    world.run(stages, engine=lambda log: on_ray(log, place, wanted))
    return world


def start(cluster: Nodes, world: World, cpus: float = 1) -> subprocess.Popen[str]:
    """`run_on` in a process of its own, whose whole word comes by `communicate`."""
    return subprocess.Popen([sys.executable, "-m", "tests.engine.toy_run", str(world.root), "0.2", "2", cluster.address,
                             str(cpus)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def log(world: World) -> str:
    """The logs of its runs so far."""
    return "".join(path.read_text() for path in (world.store.root / "runs").glob("*.jsonl"))


def soon(when: Callable[[], bool], then: Callable[[], object]) -> threading.Thread:
    """In another thread, while a run goes on."""
    def look() -> None:
        wait_for(when, seconds=120)
        then()

    thread = threading.Thread(target=look)
    thread.start()
    return thread


def test_tables_and_quarantine_are_those_of_one_machine(cluster: Nodes, world: World, alone: dict[str, Any]) -> None:
    run_on(cluster, world.write(**TEXTS))
    assert world.rows() == alone
    assert world.outcome.quarantined == {"x.txt", "y.txt"}
    assert max(world.begun().values()) == 2  # y, with caution
    assert "upper: y.txt: the upper process ended (killed by SIGABRT); it is tried once more" in world.output
    assert cluster.quiet()
    assert run_on(cluster, world).outcome.count("done") == 0  # nothing is left to do


@pytest.mark.parametrize("only_raylet", [False, True], ids=["whole-node", "raylet"])
def test_what_a_lost_node_held_is_done_by_others(cluster: Nodes, world: World, alone: dict[str, Any],
                                                  only_raylet: bool, capfd: pytest.CaptureFixture[str]) -> None:
    second = cluster.join(1)
    death = soon(lambda: len(world.store.shards("words")) > 2, lambda: cluster.kill(second, only_raylet=only_raylet))
    run_on(cluster, world.write(**TEXTS), chain(world, 3)[:1])
    death.join()
    assert world.rows() == first(alone)
    assert world.leftovers() == []
    notes = [line for line in world.output.splitlines() if "lost" in line]
    # Workers whose raylet alone is dead live on for a while, in which they may come to the end of the run.
    assert len(notes) == 1 or (only_raylet and not notes)
    assert all(note.endswith("what it had in hand is handed out anew") for note in notes)
    assert capfd.readouterr() == ("", "")  # Ray's own pages are in a file
    assert cluster.quiet()


def test_a_node_that_joins_late_is_used(cluster: Nodes, world: World, alone: dict[str, Any]) -> None:
    driver = start(cluster, world.write(**TEXTS), cpus=3)
    wait_for(lambda: "a worker wants 3 CPUs, and no node has that" in log(world), seconds=120)
    late = cluster.join(3)
    said, _ = driver.communicate(timeout=120)
    assert (driver.returncode, said) == (0, "")
    cluster.cluster.remove_node(late)
    assert world.rows() == first(alone)


def test_a_driver_that_was_killed_leaves_nothing_and_goes_on(cluster: Nodes, world: World, alone: dict[str, Any],
                                                            ) -> None:
    driver = start(cluster, world.write(**TEXTS))
    wait_for(lambda: len(world.store.shards("words")) > 2, seconds=120)
    maps = [mapped.path for child in cluster.children() for mapped in child.memory_maps()]
    assert maps
    assert not any("_raylet" in path for path in maps)  # a child has no need of Ray, which takes long to start
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    assert cluster.quiet()
    assert 0 < len(world.rows()) < len(first(alone))
    world.begun()
    run_on(cluster, world, chain(world)[:1])
    assert world.rows() == first(alone)
    assert world.leftovers() == []
    assert sum(world.begun().values()) < len(TEXTS)


def test_sigterm_ends_a_driver_and_its_actors(cluster: Nodes, world: World) -> None:
    driver = start(cluster, world.write(**TEXTS))
    wait_for(lambda: len(world.store.shards("words")) > 2, seconds=120)
    driver.send_signal(signal.SIGTERM)
    said, _ = driver.communicate(timeout=60)
    assert (driver.returncode, said) == (130, "")
    assert cluster.quiet()
    assert world.leftovers() == []


def test_what_no_node_has_is_said_and_not_waited_for_for_ever(cluster: Nodes, world: World) -> None:
    run_on(cluster, world.write(a="one"), needs=Needs(cpus=1, gpus=1), wait_s=0)
    assert world.outcome.stage_errors["words"].startswith(
        "a worker wants 1 CPU and 1 GPU, and no node has that: there are 2 CPUs. Lower words.cpus")
    assert world.outcome.count("quarantined") == 0


def test_a_hand_with_nothing_to_do_makes_room_for_a_stage_that_has_none(world: World, monkeypatch: pytest.MonkeyPatch,
                                                                        ) -> None:
    """Else a stage whose node was lost would wait for ever for the CPUs of the next, which waits for it."""
    class Silent(Away):
        def __init__(self, stage: Toy, placed: bool, waited: float) -> None:
            Hand.__init__(self, stage)
            self.placed, self.since, self.wanted, self.own = placed, time.monotonic() - waited, {"CPU": 1.0}, []

        def stop(self) -> None:
            self.stopping = True

    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}])
    words, upper = chain(world)
    crew = Crew(world.root / "log", 60, {})
    placed, fresh, waiting = Silent(upper, True, 99), Silent(words, False, 1), Silent(words, False, 30)
    crew._look_after([placed, fresh])
    assert not placed.stopping
    crew.looked = 0
    crew._look_after([placed, waiting])
    assert placed.stopping
    assert [report.fault["reason"] for report in waiting.own] == [
        "waits for 1 CPU on one node: the nodes that have it are taken"]


def test_a_node_without_the_code_stops_the_stage_at_once(cluster: Nodes, world: World,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ModuleType("only_here")
    monkeypatch.setitem(sys.modules, "only_here", gone)
    monkeypatch.setattr(engine, "Post", type("Post", (engine.Post,), {"__module__": "only_here"}))
    gone.Post = engine.Post
    run_on(cluster, world.write(a="one"))
    assert world.outcome.stage_errors["words"] == (
        "a worker cannot start (ModuleNotFoundError: No module named 'only_here'): install dbvad[ray] on every node, "
        "in the version that this machine has")


def test_a_node_that_does_not_see_the_artifacts_blames_no_video(cluster: Nodes, world: World,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(engine.Crew):
        def __init__(self, log: Any, *rest: Any) -> None:
            super().__init__(log.with_name("elsewhere"), *rest)

    monkeypatch.setattr(engine, "Crew", Elsewhere)
    run_on(cluster, world.write(a="one"))
    assert "does not see the artifacts folder" in world.outcome.stage_errors["words"]
    assert world.outcome.count("quarantined") == 0


def test_a_video_that_only_its_node_does_not_see_is_not_blamed(world: World) -> None:
    unit = next(iter(world.write(a="one").plan().values()))
    post = engine.Post()
    post.node = "n1"
    (world.videos / "a.txt").unlink()
    (report,) = post.step([(unit, True)], 0).reports
    assert (report.kind, report.video_id) == ("stage_error", "a.txt")
    assert f"node n1 does not see the video, {world.videos / 'a.txt'}: " in report.fault["reason"]


def test_without_a_cluster_one_line_says_so(world: World) -> None:
    for address, message in (("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1"), ("head", "is no address of a cluster")):
        with pytest.raises(NoCluster, match=message), on_ray(world.root / "log", RayCluster(address=address), {}):
            pass


def test_what_listens_and_is_no_cluster_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                   ) -> None:
    monkeypatch.setattr(engine, "JOIN_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with (pytest.raises(NoCluster, match="does not answer as a Ray cluster: give the port of its head"),
              on_ray(tmp_path / "log", RayCluster(address=address), {})):
            pass


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NoCluster, match=r"pip install 'dbvad\[ray\]'"):
        engine.check_installed()
