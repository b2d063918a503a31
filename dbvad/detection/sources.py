"""What `dbvad detect` is pointed at: files, folders and patterns become videos with ids of their own."""

import glob
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dbvad.detection.road import FACTS
from pipeline.engine.hashing import HashCache
from pipeline.engine.stage import BadVideo, Source
from pipeline.stages.dataset import HASH_THREADS
from pipeline.stages.labels import VIDEO_SUFFIXES


class NoVideos(ValueError):
    """There is nothing to look at where the user said; the message names the place."""


def find_videos(given: Sequence[str]) -> tuple[list[Path], int]:
    """The files meant, each once, sorted, and how many others of the folders are not named like videos.

    A file that is named itself is taken whatever its suffix. Raises NoVideos.
    """
    found: dict[Path, None] = {}
    others = 0
    for name in given:
        path = Path(name)
        if path.is_dir():
            files = _below(path)
            videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
            others += len(files) - len(videos)
            if not videos:
                raise NoVideos(f"no video below {name}: looked for {' '.join(sorted(VIDEO_SUFFIXES))}")
        elif os.path.lexists(path):
            videos = [path]
        else:
            videos = [Path(match) for match in glob.glob(name, recursive=True) if not os.path.isdir(match)]
            if not videos:
                raise NoVideos(f"nothing at {name}: name a video, a folder of videos, or a pattern such as "
                               f"'recordings/**/*.mp4'")
        found |= dict.fromkeys(Path(os.path.abspath(video)) for video in videos)
    return sorted(found), others


def read_sources(paths: Sequence[Path], cache: HashCache, tick: Callable[[int, int], None] = lambda done, total: None,
                 ) -> list[Source]:
    """The videos with their content's hashes; ids are the paths below their common folder.

    A file that cannot be read is listed with its problem. `tick(done, total)` counts bytes of files that are read.
    """
    root = Path(os.path.commonpath([path.parent for path in paths]))
    ids = {os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace"): path for path in paths}
    sizes = {video_id: path.stat().st_size for video_id, path in ids.items() if path.is_file()}
    unread = {video_id: size for video_id, size in sizes.items()
              if not cache.is_fresh(_key(ids[video_id]), ids[video_id].stat())}
    done, sources = 0, []
    with ThreadPoolExecutor(HASH_THREADS) as threads:
        hashed = threads.map(lambda path: _hashed(path, cache), ids.values())
        for (video_id, path), (digest, problem) in zip(ids.items(), hashed, strict=True):
            done += unread.get(video_id, 0)
            tick(done, sum(unread.values()))
            sources.append(Source(video_id, path, digest or str(problem), sizes.get(video_id, 0), dict(FACTS), problem))
    cache.save()
    return sources


def _hashed(path: Path, cache: HashCache) -> tuple[str, BadVideo | None]:
    if path.exists() and not path.is_file():
        return "", BadVideo("unreadable", "no regular file, but a pipe or a device", "leave it out")
    try:
        return cache.hash(_key(path), path), None
    except FileNotFoundError:
        return "", BadVideo("unreadable", "a link that leads nowhere, or a file that just went away",
                            "put the video there, or remove the link")
    except OSError as error:
        return "", BadVideo("unreadable", f"cannot be read: {error.strerror or error}", "make the file readable")


def _key(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _below(folder: Path) -> list[Path]:
    """Files below a folder; hidden ones and linked folders are left out."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where) / name for name in names if not name.startswith(".")]
    return found
