"""Ray clusters of several nodes on this machine, for tests, the drill and the bench: small, quick to notice a death.

Ray reads its settings from the environment when it is imported, here as in every process that it starts: they are set
when this module is.
"""

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_AUTH_MODE": "token",
               "RAY_AUTH_TOKEN": uuid.uuid4().hex, "RAY_health_check_initial_delay_ms": "500",
               "RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "500",
               "RAY_health_check_failure_threshold": "3",
               "RAY_worker_niceness": "0",  # 15 by default: other work would slow these runs alone
               "PYTHONPATH": f"{Path(__file__).parents[2]}:{os.environ.get('PYTHONPATH', '')}"}
NODE = {"object_store_memory": 80 << 20}  # nothing but units is sent


class Nodes:
    """One cluster; `address` of its head."""

    def __init__(self, cpus: int, folder: str) -> None:
        from ray.cluster_utils import Cluster

        self.cluster: Any = Cluster(initialize_head=True, head_node_args={
            "num_cpus": cpus, "include_dashboard": False, "temp_dir": folder, **NODE})
        self.address: str = self.cluster.address

    def join(self, cpus: int) -> Any:
        """One more node."""
        return self.cluster.add_node(num_cpus=cpus, **NODE)

    @staticmethod
    def kill(node: Any, *, only_raylet: bool = False) -> None:
        """A node dies whole, or its raylet does, which leaves its workers to themselves until they notice."""
        raylets = [started.process for started in node.all_processes["raylet"]]
        rest = [child for raylet in raylets for child in psutil.Process(raylet.pid).children(recursive=True)]
        for process in [*raylets, *([] if only_raylet else rest)]:
            process.kill()
        for raylet in raylets:
            raylet.wait()  # its workers ask whether it lives, and a zombie does

    def children(self) -> list[psutil.Process]:
        """The child processes of stages that live on any node, or were orphaned by one."""
        return [process for process in psutil.process_iter() if _is_child(process)]

    def quiet(self, seconds: float = 40) -> bool:
        """Whether within some seconds no child of a stage is left."""
        until = time.monotonic() + seconds
        while self.children() and time.monotonic() < until:
            time.sleep(0.1)
        return not self.children()


def _is_child(process: psutil.Process) -> bool:
    """By what multiprocessing calls it, and by the cluster's own token, which its processes inherit."""
    try:
        return ("spawn_main" in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get("RAY_AUTH_TOKEN") == os.environ["RAY_AUTH_TOKEN"])
    except psutil.Error:
        return False


@contextmanager
def nodes(cpus: int) -> Iterator[Nodes]:
    """A cluster of one node, ended on leaving with all that joined it."""
    folder = tempfile.mkdtemp(prefix="ray-")  # short: sockets lie in it
    cluster = None
    try:
        cluster = Nodes(cpus, folder)
        yield cluster
    finally:
        if cluster is not None:
            cluster.cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
