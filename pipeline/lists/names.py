"""What lists call a video, and which video that is."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import PurePosixPath

from pipeline.lists import ListError

# The one list of suffixes of video files in this code: containers, bare streams, and what recorders write.
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".ts", ".mts", ".m2ts", ".m2t", ".mpg", ".mpeg",
    ".mpe", ".m1v", ".m2v", ".mpv", ".vob", ".dat", ".flv", ".f4v", ".wmv", ".asf", ".3gp", ".3g2", ".ogv", ".ogm",
    ".ogg", ".rm", ".rmvb", ".mxf", ".dv", ".nut", ".mjpg", ".mjpeg", ".y4m", ".ivf",
    ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".dav"))
FEATURE_SUFFIXES = frozenset((".npy", ".npz", ".mat", ".pt", ".pth", ".pkl", ".h5"))
FEATURE_TAILS = ("_i3d", "_c3d", "_clip", "_rgb", "_flow")  # what extractors add: RTFM's `Name_x264_i3d.npy`
CROP_MARK = "__"  # VadCLIP's, XDVioDet's, UR-DMU's `Name__k.npy`


class AmbiguousName(ListError):
    """A name that fits several videos."""


def nfc(name: str) -> str:
    """Composed: a Mac writes file names with their accents apart."""
    return unicodedata.normalize("NFC", name)


def without_suffix(name: str) -> str:
    """Without the suffix of a video or feature file; other dots of a title (Casino.Royale.2006__#1) stay."""
    suffix = PurePosixPath(name).suffix
    return name[:-len(suffix)] if suffix.lower() in VIDEO_SUFFIXES | FEATURE_SUFFIXES else name


def video_name(name: str, mark: str = CROP_MARK) -> tuple[str, int | None]:
    """A path without the suffix of a feature or video file, and the crop that `Name__k.npy` names."""
    plain = without_suffix(name)
    suffix = name[len(plain):].lower()
    if suffix in FEATURE_SUFFIXES and (found := re.fullmatch(rf"(.*[^_]){re.escape(mark)}(\d)", plain, re.DOTALL)):
        return found[1], int(found[2])
    return plain, None


def path_parts(name: str) -> list[str]:
    """Folders and file name of a path of any system, without drive letters and dots."""
    parts = [part for part in nfc(name).replace("\\", "/").split("/") if part not in ("", ".")]
    return parts[1:] if len(parts) > 1 and re.fullmatch(r"[A-Za-z]:", parts[0]) else parts


def base_name(name: str) -> str:
    """The file's name without folders and suffix."""
    parts = path_parts(name)
    return without_suffix(parts[-1]) if parts else ""


def is_absolute(name: str) -> bool:
    """Whether a path begins at the root of some machine."""
    return bool(re.match(r"[/\\~]|[A-Za-z]:[/\\]", name.strip()))


def without_tail(name: str) -> str:
    """Without what a feature extractor added to the name."""
    return next((name[:-len(tail)] for tail in FEATURE_TAILS if name.lower().endswith(tail) and len(name) > len(tail)),
                name)


class Names:
    """Finds the video that a name in a list means, whatever form of its path the list uses."""

    def __init__(self, video_ids: Iterable[str]) -> None:
        self.ids = dict.fromkeys(video_ids)
        self.composed: dict[str, list[str]] = defaultdict(list)
        self.by_base: dict[str, list[str]] = defaultdict(list)
        self.by_tailless: dict[str, list[str]] = defaultdict(list)
        for video_id in self.ids:
            self.composed[nfc(video_id)].append(video_id)
            if key := _key(video_id):
                self.by_base[key[-1]].append(video_id)
                self.by_tailless[without_tail(key[-1])].append(video_id)

    def find(self, name: str, anywhere: bool = True) -> str | None:
        """The video's id; None if there is no such video. Raises AmbiguousName."""
        same = self.matches(name, anywhere)
        if len(same) > 1:
            raise AmbiguousName(f"{name!r} fits {len(same)} videos ({', '.join(sorted(same)[:3])}"
                                f"{', ...' if len(same) > 3 else ''}): name it by its path below the folder")
        return same[0] if same else None

    def matches(self, name: str, anywhere: bool = True) -> list[str]:
        """All known paths that fit a name best, in this order: spelt the same; the longest that is the end of the name,
        suffix and crop aside; one that ends with the name; the same file name in other folders.

        Not `anywhere`: a known path is a place below some folder, so its folders count: it must be the end of the name.
        Only an absolute one, of another machine, may be longer.
        """
        name = name.strip()
        if name in self.ids:
            return [name]
        if found := self.composed.get(nfc(name)):
            return found
        key = _key(video_name(name)[0])
        if not key:
            return []
        for wanted, index in ((key, self.by_base), (_tailless(key), self.by_tailless)):
            known = {path: (*_key(path)[:-1], wanted[-1]) for path in index.get(wanted[-1], ())}
            if found := _best(wanted, known, anywhere):
                return _of_its_suffix(found, name)
        return []


def _best(key: tuple[str, ...], known: dict[str, tuple[str, ...]], anywhere: bool) -> list[str]:
    ends = {path: len(other) for path, other in known.items() if key[-len(other):] == other}
    if ends:
        return [path for path, length in ends.items() if length == max(ends.values())]
    longer = [path for path, other in known.items() if other[-len(key):] == key and (anywhere or is_absolute(path))]
    return longer or (list(known) if anywhere else [])


def _of_its_suffix(found: list[str], name: str) -> list[str]:
    """Those whose suffix is that of the name, where there are any."""
    suffix = PurePosixPath(name).suffix.lower()
    return [video_id for video_id in found if PurePosixPath(video_id).suffix.lower() == suffix] or found


@lru_cache(maxsize=1 << 17)
def _key(name: str) -> tuple[str, ...]:
    """Parts of the path, the last without suffix."""
    parts = path_parts(name)
    return (*parts[:-1], without_suffix(parts[-1])) if parts else ()


def _tailless(key: tuple[str, ...]) -> tuple[str, ...]:
    return *key[:-1], without_tail(key[-1])
