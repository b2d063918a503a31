"""Live equals archive: the same stream scored by `dbvad watch` as it comes, and by `dbvad detect` from a recording.

    python tools/live_equals_archive.py --model RUN --clip CLIP --video VIDEO --seconds 60

A real RTSP server loops VIDEO, encoded anew as a camera sends it (H.264 without B-frames). The watch scores the stream
while another client records its packets as they come. The recording is cut to the frames that the watch saw, `detect
--scale windows` scores it, and the final scores of every snippet are compared. Ends with 1 if snippets differ, or a
score by more than 1e-3.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.live.faults import RtspServer
from tests.videos import write_video

LIMIT = 1e-3
LATER_S = 5.0  # the recording goes on for longer than the watch


def as_a_camera(video: Path, out: Path) -> Path:
    """The video without B-frames, whose times the RTSP server would get wrong."""
    with av.open(str(video)) as source:
        stream = source.streams.video[0]
        fps = round(float(stream.average_rate or 25))
        frames = (frame.to_ndarray(format="rgb24") for frame in source.decode(stream))
        return write_video(out, frames, fps=fps, gop=2 * fps, options={"bf": "0"})


def record(address: str, path: Path, over: threading.Event) -> None:
    """Write the stream's packets until it is over, each once: a server under load repeats some."""
    with av.open(address, options={"rtsp_transport": "tcp", "allowed_media_types": "video"}) as source:
        packets = takewhile(lambda _: not over.is_set(), source.demux(video=0))
        write(packets, source.streams.video[0], path)


def shorten(recording: Path, path: Path, frames: int) -> Path:
    """The recording's first frames."""
    with av.open(str(recording)) as source:
        write(source.demux(video=0), source.streams.video[0], path, frames)
    return path


def write(packets: Iterable[Any], stream: Any, path: Path, most: float = float("inf")) -> None:
    """Nothing is encoded; times are counted anew, as a loop repeats a stamp at its seam, and the first has none."""
    with av.open(str(path), "w") as sink:
        copy: Any = sink.add_stream_from_template(stream)
        count, before = 0, b""
        for packet in packets:
            content = bytes(packet)
            if not content or count == most:
                break
            if content != before:
                packet.time_base = 1 / Fraction(stream.average_rate or 25)
                packet.pts = packet.dts = count
                packet.stream, count = copy, count + 1
                sink.mux(packet)
            before = content


def dbvad(*words: object) -> None:
    done = subprocess.run([sys.executable, "-m", "dbvad", *map(str, words)], stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"dbvad {words[0]} ended with {done.returncode}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clip")
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    eyes = ["--model", options.model, *(["--clip", options.clip] if options.clip else [])]
    with tempfile.TemporaryDirectory() as name:
        folder, over = Path(name), threading.Event()
        (folder / "videos").mkdir()
        server = RtspServer(as_a_camera(options.video, folder / "videos" / "loop.mp4").parent)
        address = server.address("loop.mp4")
        recorder = threading.Thread(target=record, args=(address, folder / "long.mkv", over))
        try:
            recorder.start()
            (folder / "cameras.yaml").write_text(json.dumps({"cameras": [{"name": "loop", "url": address,
                                                                          "queue": 500}]}))
            dbvad("watch", folder / "cameras.yaml", *eyes, "--out", folder / "watch", "--scores",
                  folder / "scores.jsonl", "--for", options.seconds, "--disk-gb", 0)
            time.sleep(LATER_S)
        finally:
            over.set()
            recorder.join(30)
            server.kill()
        lines = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
        live = {line["frame"]: line["score"] for line in lines if line["final"]}
        takes = {line["take"] for line in lines}
        recording = shorten(folder / "long.mkv", folder / "recording.mp4", max(live, default=0) + 1)
        dbvad("detect", recording, *eyes, "--scale", "windows", "--artifacts", folder / "detections")
        table = pq.read_table(folder / "detections" / "detect" / "recording.mp4.parquet").to_pydict()
    archive = dict(zip(table["start_frame"], table["score"], strict=True))
    if live.keys() != archive.keys() or len(takes) != 1:
        print(f"FAIL  {len(takes)} connections; live has {len(live)} snippets, the recording {len(archive)}; "
              f"only in one: {sorted(live.keys() ^ archive.keys())[:10]}")
        return 1
    largest = max(abs(live[frame] - archive[frame]) for frame in live)
    print(f"{'PASS' if largest <= LIMIT else 'FAIL'}  {len(live)} snippets over {max(live)} frames, scores from "
          f"{min(archive.values()):.3f} to {max(archive.values()):.3f}: largest difference {largest:.1e}")
    return 0 if largest <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
