"""What lists call a video, and which video that is."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from dbvad.evaluation.groundtruth import VIDEO_SUFFIXES

CROP_FILE = re.compile(r"(.+)__(\d)")  # VadCLIP's `Name__k.npy`


class AmbiguousName(ValueError):
    """A name that fits several videos."""


def video_name(name: str) -> tuple[str, int | None]:
    """A path without the extension of a feature or video file, and the crop that `__k.npy` names."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return name[:-len(suffix)], None
    if suffix != ".npy":
        return name, None
    found = CROP_FILE.fullmatch(name[:-len(suffix)])
    return (found[1], int(found[2])) if found else (name[:-len(suffix)], None)


class Names:
    """Finds a video by its id, by the end of a path that is its id, or by a file name that only it has."""

    def __init__(self, video_ids: Iterable[str]) -> None:
        self.ids: dict[str, str] = {}
        self.by_base: dict[str, set[str]] = defaultdict(set)
        for video_id in video_ids:
            plain, _ = video_name(video_id)
            self.ids |= {plain: video_id, video_id: video_id}
            self.by_base[PurePosixPath(plain).name].add(video_id)

    def find(self, name: str) -> str | None:
        """The video's id; None if there is no such video. Raises AmbiguousName."""
        name, _ = video_name(name.strip())
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if name in self.ids:
            return self.ids[name]
        for start in range(len(parts)):
            if found := self.ids.get("/".join(parts[start:])):
                return found
        same = sorted(self.by_base.get(parts[-1], ())) if parts else []
        if len(same) > 1:
            raise AmbiguousName(f"{name!r} fits {len(same)} videos ({', '.join(same[:3])}): "
                                f"name it by its path below the folder")
        return same[0] if same else None
