"""The demo's set on a Ray cluster into a bucket, and on one machine into a folder: do the two differ?

    python tools/ray_bucket.py [--size 96] [--vllm URL]

Renders the demo's world and takes it through all six stages, SQL, training, evaluation and report: with `--engine
local` into a folder, then on two Ray nodes of this machine into a bucket of a store on loopback (moto). Says what
differs, and exits with 1 if anything does: a row of a shard, an answer of SQL, a weight, a metric. `--vllm`: a server
that both describe with, instead of transformers.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from kill_nine import differences
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dbvad.cli.demo import SETTINGS, write_stages
from dbvad.demo.world.dataset import render_dataset
from pipeline.engine.files import read_record
from pipeline.engine.place import local
from pipeline.engine.store import Store
from tests.engine.nodes import nodes
from tests.storage.conftest import Server

DBVAD = str(Path(sys.executable).with_name("dbvad"))
URL = "s3://drill/demo"
QUERIES = ("select stage, video_id, reason from quarantine order by all",
           "select video_id, text from described order by all",
           "select video_id, count(*), sum(relevance) from score group by all order by all")


def dbvad(*arguments: object) -> str:
    """What a command prints; ends the drill if it fails."""
    began = time.monotonic()
    done = subprocess.run([DBVAD, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"dbvad {' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    print(f"{time.monotonic() - began:5.0f} s  dbvad {' '.join(map(str, arguments[:2]))}", flush=True)
    return done.stdout


def road(config: Path, artifacts: object, run: Path, *engine: str) -> list[str]:
    """All that is done with a dataset; what SQL says of it."""
    dbvad("pipeline", "run", "--config", config, "--artifacts", artifacts, *engine)
    told = [dbvad("sql", "--artifacts", artifacts, "--json", query) for query in QUERIES]
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    dbvad("train", "--artifacts", artifacts, "--out", run, "--stages", config, *settings)
    dbvad("evaluate", run, "--artifacts", artifacts, "--annotations", config.with_name("temporal.txt"))
    dbvad("report", run, "--artifacts", artifacts, "--out", run / "report")
    return told


def content(model: Path) -> dict[str, bytes | str]:
    """Weights and facts, which stand in the file in any order."""
    with safe_open(model, framework="np") as file:
        return file.metadata() | {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="training videos; half as many test videos")
    parser.add_argument("--vllm", help="base URL of a server")
    given = parser.parse_args()
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with tempfile.TemporaryDirectory(prefix="ray-bucket-") as name:
        folder = Path(name)
        there = Server("http://{}:{}".format(*server.get_host_and_port()))
        there.request("PUT", "drill")
        os.environ |= there.environment(folder / "mirror")
        render_dataset(folder, given.size, given.size // 2, 7)
        config = folder / "stages.yaml"
        write_stages(config, "vllm" if given.vllm else "transformers")
        if given.vllm:
            stages = yaml.safe_load(config.read_text())
            stages["describe"]["vllm"] = {"base_urls": [given.vllm]}
            config.write_text(yaml.safe_dump(stages, sort_keys=False))
        here, bucket = folder / "here", folder / "bucket"
        said = road(config, folder / "artifacts", here)
        with nodes(2) as cluster:
            cluster.join(2)
            said_there = road(config, URL, bucket, "--engine", "ray", "--address", cluster.address)
        rows, found = differences(Store(folder / "artifacts"), Store(local(URL)))
        found += [f"SQL: {query}" for query, one, other in zip(QUERIES, said, said_there, strict=True) if one != other]
        if content(here / "model.safetensors") != content(bucket / "model.safetensors"):
            found.append("another model")
        one, other = (read_record(run / "result.json", "") for run in (here, bucket))
        if one["metrics"] != other["metrics"]:
            found.append(f"other metrics: {one['metrics']} and {other['metrics']}")
        if not (bucket / "report" / "index.html").exists():
            found.append("no report")
    server.stop()
    for what in found:
        print(what)
    answers = [len(json.loads(answer)) for answer in said]
    print(json.dumps({"rows": rows, "answers": answers, "differences": len(found)}))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
