"""What a `dbvad pipeline run` costs when everything is up to date: `python bench/engine.py [--videos 20000]`.

Makes a folder of tiny files, and for each of the six stages a shard (without rows; a plan reads footers only), then
runs the command itself: without the notes of an earlier plan (`pipeline/engine/seen.py`), with them, and after one
video more, this also with `--quick`. CPU seconds and the most memory of its process. `--links` makes videos and shards
hard links of few files, so that a million need no 24 GB. One JSON object at the end.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

from pipeline.engine import sealed
from pipeline.engine.hashing import HashCache
from pipeline.engine.plan import Unit, make_plan
from pipeline.engine.seen import FOLDER
from pipeline.engine.store import Store
from pipeline.stages import StagesFile, build
from pipeline.stages.dataset import Dataset, discover

CLASSES = 14  # UCF-Crime's, normal among them
LINKS = 50_000  # of one file; ext4 allows 65,000
NEW = "train/Class01/New.mp4"


def make_videos(folder: Path, count: int, links: bool) -> Dataset:
    """`count` files of a few bytes below train/ and test/, a thousand a folder."""
    first = Path()
    for number in range(count):
        split, label = "test" if number % 5 == 0 else "train", number % CLASSES
        kind = f"Class{label:02}" if label else "normal"
        path = folder / split / kind / f"{number // 14_000:03}" / f"{number:07}.mp4"
        if number % 14_000 < 7 * CLASSES:
            path.parent.mkdir(parents=True, exist_ok=True)
        if links and number % LINKS:
            os.link(first, path)
        else:
            path.write_text("film" if links else str(number))
            first = path
    return Dataset(videos=folder)


def make_shards(artifacts: Path, dataset: Dataset, links: bool) -> None:
    """Every shard that a finished run leaves, without rows."""
    store = Store(artifacts)
    stages = {stage.name: stage for stage in build(StagesFile(), artifacts)}
    sources = discover(dataset, HashCache(artifacts / ".video-hashes")).sources
    plan = make_plan(list(stages.values()), sources, store)
    made: dict[tuple[str, str], tuple[Unit, Path, int]] = {}
    folders: set[Path] = set()
    for unit in plan.values():
        path = store.path(unit.stage, unit.video_id)
        if path.parent not in folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.add(path.parent)
        kind = unit.fingerprint if links else f"{len(unit.video_id)} {unit.recipe}"
        like, template, number = made.get((unit.stage, kind), (unit, path, 0))
        made[unit.stage, kind] = like, template, number + 1
        if number == 0:
            contract = stages[unit.stage].contract
            store.publish(contract, unit.video_id, contract.schema.empty_table(), fingerprint=unit.fingerprint,
                          basis=unit.basis)
        elif not links:
            path.write_bytes(retold(template.read_bytes(), like, unit))
        elif number % LINKS == 0:
            shutil.copy(template, path)
            made[unit.stage, kind] = like, path, number + 1
        else:
            os.link(template, path)


def retold(shard: bytes, like: Unit, unit: Unit) -> bytes:
    """A shard with the footer of another unit, whose texts are as long: a hundred times as fast as to publish it."""
    length, _ = sealed.END.unpack(shard[-sealed.END.size:])
    mark = len(shard) - sealed.END.size - length - sealed.MARK.size
    told, _, magic = sealed.MARK.unpack_from(shard, mark)
    rest = shard[mark + sealed.MARK.size:]
    for old, new in ((like.video_id, unit.video_id), (like.fingerprint, unit.fingerprint),
                     *((old, new) for (_, old), (_, new) in zip(like.upstream, unit.upstream, strict=True))):
        rest = rest.replace(old.encode(), new.encode())
    seal = sealed.MARK.pack(told, zlib.crc32(rest, zlib.crc32(shard[mark - told:mark])), magic)
    return shard[:mark] + seal + rest


def command(*arguments: str, folder: Path) -> dict[str, Any]:
    """`dbvad pipeline run ...` in a process of its own."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "dbvad", "pipeline", "run", *arguments, "--json"], cwd=folder,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = round(time.monotonic() - began, 1)
    return {"exit": process.returncode, "rows": len(json.loads(said or "[]")), "seconds": seconds,
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 2), "peak_mb": round(usage.ru_maxrss / 1024)}


def measure(folder: Path, videos: int, links: bool) -> dict[str, Any]:
    (folder / "stages.yaml").write_text("dataset: {videos: videos}\n")
    (folder / "artifacts").mkdir()
    began = time.monotonic()
    make_shards(folder / "artifacts", make_videos(folder / "videos", videos, links), links)
    print(f"{videos} videos made in {time.monotonic() - began:.0f} s", file=sys.stderr)
    time.sleep(4)  # until they have settled
    shutil.rmtree(folder / "artifacts" / FOLDER, ignore_errors=True)
    found = {name: command(folder=folder) for name in ("first plan", "nothing to do", "again")}
    (folder / "videos" / NEW).write_text("a new film")
    found["one video more"] = command("--dry-run", folder=folder)
    found["one video more, --quick"] = command("--dry-run", "--quick", folder=folder)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--links", action="store_true", help="links of few files in place of files")
    parser.add_argument("--folder", type=Path, help="where the disk has room; a temporary folder in it is used")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        found = measure(Path(name), given.videos, given.links)
    print(f"{given.videos} videos x 6 stages{'':4}{'CPU s':>8}{'seconds':>9}{'peak MB':>9}")
    for name, told in found.items():
        print(f"{name:<30}{told['cpu_s']:>8.2f}{told['seconds']:>9.1f}{told['peak_mb']:>9}")
    print(json.dumps({"settings": vars(given) | {"folder": None}, "found": found}))


if __name__ == "__main__":
    main()
