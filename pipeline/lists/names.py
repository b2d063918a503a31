"""What lists call a video, and which video that is."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from pipeline.lists import ListError

# The one list of suffixes of video files in this code: containers, bare streams, and what recorders write.
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".ts", ".mts", ".m2ts", ".m2t", ".mpg", ".mpeg",
    ".mpe", ".m1v", ".m2v", ".mpv", ".vob", ".dat", ".flv", ".f4v", ".wmv", ".asf", ".3gp", ".3g2", ".ogv", ".ogm",
    ".ogg", ".rm", ".rmvb", ".mxf", ".dv", ".nut", ".mjpg", ".mjpeg", ".y4m", ".ivf",
    ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".dav"))
FEATURE_SUFFIXES = frozenset((".npy", ".npz", ".mat", ".pt", ".pth", ".pkl", ".h5"))
KNOWN_SUFFIXES = VIDEO_SUFFIXES | FEATURE_SUFFIXES
FEATURE_TAILS = ("_i3d", "_c3d")  # what extractors add: RTFM's `Name_x264_i3d.npy`
CROP_MARK = "__"  # VadCLIP's, XDVioDet's, UR-DMU's `Name__k.npy`


class AmbiguousName(ListError):
    """A name that fits several videos, or two that fit one."""


def nfc(name: str) -> str:
    """Composed: a Mac writes file names with their accents apart."""
    return unicodedata.normalize("NFC", name)


def suffix_of(name: str) -> str:
    """The last dot of a file's name and what follows it; "" where there is none, or nothing before or behind it."""
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix if suffix and stem and stem[-1] not in "/\\" and "/" not in suffix else ""


def without_suffix(name: str) -> str:
    """Without the suffix of a video or feature file; other dots of a title (Casino.Royale.2006__#1) stay."""
    suffix = suffix_of(name)
    return name[:-len(suffix)] if suffix.lower() in KNOWN_SUFFIXES else name


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


def bare_name(name: str) -> str:
    """Without all that tools add to a name: suffixes one after the other (`ch01.dav.mp4`), and `_i3d` and the like."""
    while True:
        tail = next((tail for tail in FEATURE_TAILS if name.lower().endswith(tail) and len(name) > len(tail)), "")
        shorter = without_suffix(name.removesuffix(name[len(name) - len(tail):]))
        if shorter == name:
            return name
        name = shorter


Key = tuple[str, ...]


class Names:
    """Finds the video that a name in a list means, whatever form of its path the list uses."""

    def __init__(self, video_ids: Iterable[str]) -> None:
        self.ids = dict.fromkeys(video_ids)
        self.composed: dict[str, list[str]] = defaultdict(list)
        self.plain, self.bare = _Paths(), _Paths()
        for video_id in self.ids:
            self.composed[nfc(video_id)].append(video_id)
            if key := _key(video_id):
                self.plain.add(key, video_id)
                self.bare.add(_bare(key), video_id)

    def find(self, name: str, anywhere: bool = True) -> str | None:
        """The video's id; None if there is no such video. Raises AmbiguousName."""
        same = self.matches(name, anywhere)
        if len(same) > 1:
            raise AmbiguousName(f"{name!r} fits {len(same)} videos ({', '.join(sorted(same)[:3])}"
                                f"{', ...' if len(same) > 3 else ''}): name it by its path below the folder")
        return same[0] if same else None

    def owners(self, names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
        """Which name means which video, by video id, and the names of none. Raises AmbiguousName for a name that fits
        several videos, and for two names that fit one."""
        owner: dict[str, str] = {}
        unknown = []
        for name in names:
            video_id = self.find(name)
            if video_id is None:
                unknown.append(name)
            elif video_id in owner:
                raise AmbiguousName(f"{owner[video_id]!r} and {name!r} both fit {video_id!r}: keep one")
            else:
                owner[video_id] = name
        return owner, unknown

    def matches(self, name: str, anywhere: bool = True) -> list[str]:
        """All known paths that fit a name best, in this order: spelt the same; the longest that is the end of the name,
        suffix and crop aside; one that ends with the name; the same file name in other folders; and these once more
        by bare names.

        Not `anywhere`: a known path is a place below some folder, so its folders count: it must be the end of the name.
        Only an absolute one, of another machine, may be longer.
        """
        if name in self.ids:
            return [name]
        name = name.strip()
        if found := self.composed.get(nfc(name)):
            return found
        key = _key(video_name(name)[0])
        found = self.plain.best(key, anywhere) or self.bare.best(_bare(key), anywhere) if key else []
        suffix = suffix_of(name).lower()
        return [path for path in found if suffix_of(path).lower() == suffix] or found


class _Paths:
    """Paths by their parts, and by the parts that they end with."""

    def __init__(self) -> None:
        self.whole: dict[Key, list[str]] = defaultdict(list)
        self.ending: dict[Key, list[str]] = defaultdict(list)

    def add(self, key: Key, path: str) -> None:
        self.whole[key].append(path)
        for start in range(len(key)):
            self.ending[key[start:]].append(path)

    def best(self, key: Key, anywhere: bool) -> list[str]:
        for start in range(len(key)):
            if found := self.whole.get(key[start:]):
                return found
        longer = [path for path in self.ending.get(key, ()) if anywhere or is_absolute(path)]
        return longer or (self.ending.get(key[-1:], []) if anywhere else [])


def _key(name: str) -> Key:
    """Parts of the path, the last without suffix."""
    parts = path_parts(name)
    return (*parts[:-1], without_suffix(parts[-1])) if parts else ()


def _bare(key: Key) -> Key:
    return (*key[:-1], bare_name(key[-1])) if key else ()
