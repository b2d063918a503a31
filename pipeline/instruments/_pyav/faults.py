"""What can be wrong with a video, and what to do about it."""

from typing import Any

RE_ENCODE = "re-encode it, e.g. `ffmpeg -i IN -c:v libx264 OUT.mp4`, or leave it out"
RECORD_AGAIN = "record or export it again, or leave it out"
COPY_AGAIN = "copy or download the file again; if the original is like this, leave it out"


class VideoError(Exception):
    """A video that cannot be used. `kind` is one of missing, unreadable, empty, not_video, truncated, no_video_stream,
    no_frames, decode_error; `remedy` says what to do about it."""

    def __init__(self, kind: str, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} ({kind}): {remedy}")
        self.kind, self.reason, self.remedy = kind, reason, remedy

    def __reduce__(self) -> tuple[Any, ...]:  # crosses a process border
        return type(self), (self.kind, self.reason, self.remedy)
