"""The rendered world as a dataset on disk: H.264 videos, temporal truth, reference descriptions. Resumable."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from dbvad.demo.world.camera import FPS, HEIGHT, WIDTH
from dbvad.demo.world.captions import CLASSES
from dbvad.demo.world.render import Renderer
from dbvad.demo.world.story import NORMAL, Story, tell

MODEL_SEEDS = range(10**9, 2 * 10**9)  # stories that models may train on; no rendered dataset uses them
MAX_SPLIT = 50_000  # videos in one split
MAX_SEED = len(range(0, MODEL_SEEDS.start, 2 * MAX_SPLIT))  # dataset seeds are below it


@dataclass(frozen=True)
class Video:
    """One video of a dataset: `video_id` is its path below `videos/`, `seed` that of its story."""

    video_id: str
    split: str
    label: str
    seed: int

    @property
    def name(self) -> str:
        return Path(self.video_id).stem


def catalogue(train: int = 96, test: int = 48, seed: int = 7) -> list[Video]:
    """The videos of a dataset: half normal, half abnormal, all classes alike. A larger one holds every smaller one.

    Raises ValueError for a size or a seed out of range.
    """
    if not (0 <= train <= MAX_SPLIT and 0 <= test <= MAX_SPLIT):
        raise ValueError(f"a split holds 0 to {MAX_SPLIT} videos, not {train} (train) and {test} (test)")
    if not 0 <= seed < MAX_SEED:
        raise ValueError(
            f"the dataset's seed must be 0 to {MAX_SEED - 1}, not {seed}: higher ones belong to the models' training"
        )
    videos = []
    for offset, (split, count) in enumerate((("train", train), ("test", test))):
        for n in range(count):
            label = CLASSES[n // 2 % len(CLASSES)] if n % 2 else NORMAL
            story_seed = (2 * seed + offset) * MAX_SPLIT + n
            assert story_seed not in MODEL_SEEDS
            videos.append(Video(f"{split}/{label}/{label}_{split}_{n:05d}.mp4", split, label, story_seed))
    return videos


def render_dataset(
    out: Path,
    train: int = 96,
    test: int = 48,
    seed: int = 7,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Video]:
    """Write videos/, temporal.txt (UCF-Crime's format), descriptions.json and truth.csv below `out`.

    Whole files of an earlier run are kept, so an interrupted run goes on where it stopped; half-written ones never get
    their name. `progress` is called with (videos done, all videos). Same arguments, same bytes.
    """
    out = Path(out)
    videos = catalogue(train, test, seed)
    truth: dict[str, dict[str, object]] = {}
    jobs = [(video, str(out)) for video in videos]
    for done, (video, facts) in enumerate(_each(jobs, workers or os.cpu_count() or 1), start=1):
        truth[video.video_id] = facts
        if progress:
            progress(done, len(videos))
    _write_truth(out, videos, truth)
    return videos


def _each(jobs: list[tuple[Video, str]], workers: int) -> Iterator[tuple[Video, dict[str, object]]]:
    if workers <= 1 or len(jobs) < 2:
        yield from map(_render_video, jobs)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_render_video, job) for job in jobs]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)


def _render_video(job: tuple[Video, str]) -> tuple[Video, dict[str, object]]:
    video, out = job
    path, story = Path(out) / "videos" / video.video_id, tell(video.seed, video.label)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            encode(part, story)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return video, {
        "n_frames": story.n_frames,
        "spans": story.spans,
        "text": story.reference,
        "place": story.scene.place,
        "night": story.scene.night,
    }


def encode(path: Path, story: Story) -> None:
    """Write the story as H.264 in mp4, with the coarse quality of a surveillance recorder."""
    import av  # here, so that frames can be drawn where it is not installed

    quality = np.random.default_rng((story.seed, 4)).integers(25, 32)
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(
            "libx264",
            rate=FPS,
            options={
                "preset": "superfast",
                "crf": str(quality),
                "threads": "1",
                "g": "50",
                "tune": "fastdecode",
                "x264-params": "mbtree=0",
            },
        )  # its macroblock tree gives other bytes from run to run
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in Renderer(story).frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def _write_truth(out: Path, videos: list[Video], truth: dict[str, dict[str, object]]) -> None:
    lines, rows = (
        [],
        [("video_id", "split", "label", "place", "night", "fps", "n_frames", "event", "start_frame", "end_frame")],
    )
    for video in videos:
        facts = truth[video.video_id]
        spans: tuple[tuple[int, int], ...] = facts["spans"]  # type: ignore[assignment]
        numbers = [n for span in (*spans, (-1, -1), (-1, -1))[:2] for n in span]
        lines.append("  ".join([f"{video.name}.mp4", video.label, *map(str, numbers)]))
        for event, (start, end) in enumerate(spans or ((-1, -1),)):
            rows.append(
                (
                    video.video_id,
                    video.split,
                    video.label,
                    facts["place"],
                    facts["night"],
                    FPS,
                    facts["n_frames"],  # type: ignore[arg-type]
                    event if spans else -1,
                    start,
                    end,
                )
            )
    _replace(out / "temporal.txt", "\n".join(lines) + "\n")
    _replace(
        out / "descriptions.json", json.dumps({v.video_id: truth[v.video_id]["text"] for v in videos}, indent=1) + "\n"
    )
    part = out / ".truth.csv.part"
    with part.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    os.replace(part, out / "truth.csv")


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    os.replace(part, path)
