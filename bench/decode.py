"""What our decode stage costs against the decoder alone: `python bench/decode.py [--frames 6000]`.

A rendered video of 320x240 is decoded by `ffmpeg -threads 1 -f null`, which is the floor: every frame decoded, none
kept. Beside it our stage, as the pipeline runs it, with each decoder, and its parts: reading all packets (survey), the
frames, what makes pictures of every 16th, their JPEGs, and the shard. CPU seconds, each in a process of its own that
has done the same with a short video before, as a worker has, the least of some rounds that take turns. One JSON object
at the end.
"""

import argparse
import json
import multiprocessing
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dbvad.demo.world.render import Renderer
from dbvad.demo.world.story import tell

FPS, STRIDE = 25, 16


def footage(path: Path, frames: int) -> Path:
    """A rendered fight, looped, as a camera's H.264 has it."""
    import av

    images = list(Renderer(tell(1, "fighting")).frames())
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", FPS)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "27", "g": str(2 * FPS)}
        pictures = [av.VideoFrame.from_ndarray(image, "rgb24").reformat(320, 240, "yuv420p") for image in images]
        for number in range(frames):
            picture = pictures[abs(number % (2 * len(pictures)) - len(pictures)) - 1]  # forwards and backwards
            picture.pts = number
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def stage(video: Path, decoder: str) -> None:
    """Decode, as a worker of the pipeline does it."""
    from pipeline.contracts import DECODE
    from pipeline.engine.stage import Source
    from pipeline.engine.store import Store
    from pipeline.stages.decode import Decode, DecodeParams

    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        made = Decode(DecodeParams(decoder=decoder))  # type: ignore[arg-type]
        with made.open(print) as worker:
            product = worker(Source(video.name, video, "0"), store)
            store.publish(DECODE, video.name, product.rows, fingerprint="", basis={}, meta=product.meta)


def survey(video: Path) -> None:
    from pipeline.instruments._pyav.survey import survey as read

    read(video)


def frames(video: Path, stride: int, decoder: str) -> None:
    """Survey, and pictures of every so many frames."""
    from pipeline.instruments.video import decode

    for _ in decode(video, stride=stride, decoder=decoder):  # type: ignore[arg-type]
        pass


PARTS: dict[str, Callable[[Path], None]] = {
    "survey": survey,
    "pyav: survey, frames": lambda video: frames(video, 10**9, "pyav"),
    "pyav: with pictures": lambda video: frames(video, STRIDE, "pyav"),
    "pyav: the stage": lambda video: stage(video, "pyav"),
    "decord: with pictures": lambda video: frames(video, STRIDE, "decord"),
    "decord: the stage": lambda video: stage(video, "decord"),
    "auto: the stage": lambda video: stage(video, "auto"),
}


def part(name: str, short: Path, video: Path) -> float:
    """CPU seconds of a part, in this process."""
    PARTS[name](short)
    began = time.process_time()
    PARTS[name](video)
    return time.process_time() - began


def floor(video: Path) -> float:
    """CPU seconds of ffmpeg, without those of its start."""
    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    took = []
    for limit in (["-frames:v", "1"], []):
        before = spent()
        subprocess.run(["ffmpeg", "-v", "error", "-threads", "1", "-i", str(video), *limit, "-f", "null", "-"],
                       check=True)
        took.append(spent() - before)
    return took[1] - took[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    spent: dict[str, list[float]] = {"ffmpeg": [], **{name: [] for name in PARTS}}
    with tempfile.TemporaryDirectory() as folder:
        short, video = footage(Path(folder) / "short.mp4", 64), footage(Path(folder) / "fight.mp4", given.frames)
        for _ in range(given.rounds):
            spent["ffmpeg"].append(floor(video))
            for name in PARTS:
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    spent[name].append(pool.apply(part, (name, short, video)))
    least = {name: min(times) for name, times in spent.items()}
    ratios = {name: seconds / least["ffmpeg"] for name, seconds in least.items()}
    print(f"{given.frames} frames of 320x240{'':12}{'CPU s':>8}{'of ffmpeg':>11}")
    for name, seconds in least.items():
        print(f"{name:<36}{seconds:>8.2f}{ratios[name]:>11.2f}")
    print(json.dumps({"settings": vars(given), "cpu_s": spent, "of_ffmpeg": ratios}))


if __name__ == "__main__":
    main()
