"""Opening a file by its content, and which of its tracks is the film."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError
from av.stream import Disposition

from pipeline.instruments._pyav.faults import COPY_AGAIN, RE_ENCODE, RECORD_AGAIN, VideoError
from pipeline.instruments.sniff import video_format

# One, whatever the machine has: how a damaged stream decodes depends on it, and a second thread for a file takes 20 %
# more CPU time in all (measured), where there are as many files in work as cores.
THREADS = 1
MP4, MATROSKA, AVI = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"
WHOLE_EDIT = {"ignore_editlist": "1"}  # an option for `opened`


@contextmanager
def opened(path: Path | str, options: dict[str, str] | None = None) -> Iterator[Any]:
    """The container. Raises VideoError."""
    path = Path(path)
    _check_file(path)
    with _open(path, options or {}) as container:
        if container.format.name.endswith("_pipe"):  # FFmpeg's name for single pictures
            raise VideoError("not_video", f"{path.name}: is a picture", "take it out of the folder")
        yield container


def tracks(container: Any, name: str) -> list[Any]:
    """The video streams that may be the film, ready to decode: covers are none. Raises VideoError."""
    found = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not found:
        if len(container.streams) == 0:
            raise VideoError("no_frames", f"{name}: holds no stream at all", RECORD_AGAIN)
        raise VideoError("no_video_stream", f"{name}: holds sound or data only, no video stream",
                         "take it out of the folder")
    known = [stream for stream in found if stream.codec_context is not None]
    if not known:
        raise VideoError("decode_error", f"{name}: its codec is not supported", RE_ENCODE)
    for stream in known:
        ready(stream)
    return known


def ready(stream: Any) -> Any:
    """The stream, set to decode as every other."""
    stream.thread_type, stream.thread_count = "AUTO", THREADS
    return stream


def packets(container: Any, *streams: Any) -> Iterator[Any]:
    """The packets of these streams, or of all, up to where the file can be read."""
    source = container.demux(*streams)
    while True:
        try:
            packet = next(source)
        except IndexError:  # of a stream that turns up on the way (MPEG-TS): PyAV does not know it
            source = container.demux(*streams)
        except (StopIteration, FFmpegError):
            return
        else:
            if packet.size:  # size 0: the demuxer's sign to flush
                yield packet


def _open(path: Path, options: dict[str, str]) -> Any:
    # An absolute path behind `file:`, or FFmpeg takes a name like "cam:1.mp4" for a protocol.
    url = f"file:{path.absolute()}"
    try:
        return av.open(url, metadata_errors="replace", options=options)
    except (FFmpegError, UnicodeError) as error:
        if (told := video_format(path)) is not None:
            try:  # where FFmpeg is not sure enough, the first bytes are
                return av.open(url, format=told, metadata_errors="replace", options=options)
            except (FFmpegError, UnicodeError, ValueError):
                pass
            raise VideoError("truncated", f"{path.name}: starts like a video ({told}), but its index or its end is "
                                          "missing", COPY_AGAIN) from error
        raise VideoError("not_video", f"{path.name}: is no video in a format that FFmpeg knows",
                         "take it out of the folder, or export it again as mp4") from error


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise VideoError("missing", f"{path}: there is no such file", "check the path and the dataset's root folder")
    if not os.access(path, os.R_OK):
        raise VideoError("unreadable", f"{path}: no permission to read it", "change its permissions (`chmod +r`)")
    if path.stat().st_size == 0:
        raise VideoError("empty", f"{path.name}: the file has 0 bytes", COPY_AGAIN)
