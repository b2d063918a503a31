"""What `dbvad detect` is pointed at: files, folders and patterns become videos with ids of their own."""

import glob
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dbvad.detection.road import FACTS
from pipeline.engine.hashing import HashCache, stamp_of
from pipeline.engine.stage import BadVideo, Source
from pipeline.stages.dataset import HASH_THREADS, told
from pipeline.stages.video_files import files_below, id_of, is_hidden, may_be_video


class NoVideos(ValueError):
    """There is nothing to look at where the user said; the message names the place."""


def find_videos(given: Sequence[str]) -> tuple[list[Path], Counter[str]]:
    """The files meant, each once, sorted, and how many others there are in the folders, by kind.

    Of a folder all below it that are videos by their suffix or their first bytes, hidden ones left out; a file that is
    named itself is taken whatever it is. Raises NoVideos.
    """
    found: dict[Path, None] = {}
    others: Counter[str] = Counter()
    for name in given:
        path = Path(name)
        if path.is_dir():
            videos = []
            for file in files_below(path):
                if not is_hidden(file) and may_be_video(file):
                    videos.append(file)
                else:
                    others["hidden" if is_hidden(file) else file.suffix.lower() or "without suffix"] += 1
            if not videos:
                raise NoVideos(f"no video below {name}: {told(others) or 'the folder is empty'}")
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
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(id_of(path, root), []).append(path)
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    unread = {path: size for path, size in sizes.items() if cache.fresh(_key(path), stamp_of(path)) is None}
    done, sources = 0, []
    with ThreadPoolExecutor(HASH_THREADS) as threads:
        hashed = threads.map(lambda same: _hashed(same, cache), found.values())
        for (video_id, (path, *_)), (digest, problem) in zip(found.items(), hashed, strict=True):
            done += unread.get(path, 0)
            tick(done, sum(unread.values()))
            sources.append(Source(video_id, path, digest or str(problem), sizes.get(path, 0), dict(FACTS), problem))
    cache.save()
    return sources


def _hashed(same: Sequence[Path], cache: HashCache) -> tuple[str, BadVideo | None]:
    path = same[0]
    if len(same) > 1:
        return "", BadVideo("same_name", "two files have this name, in two forms of Unicode", "rename one of them")
    if path.exists() and not path.is_file():
        return "", BadVideo("unreadable", "no regular file, but a folder, a pipe or a device", "leave it out")
    try:
        return cache.hash(_key(path), path), None
    except FileNotFoundError:
        return "", BadVideo("unreadable", "a link that leads nowhere, or a file that just went away",
                            "put the video there, or remove the link")
    except OSError as error:
        return "", BadVideo("unreadable", f"cannot be read: {error.strerror or error}", "make the file readable")


def _key(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
