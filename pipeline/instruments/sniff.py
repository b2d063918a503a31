"""Is this file a video? Told by its first bytes, whatever its name says; loads no decoder."""

import re
from pathlib import Path

HEAD_BYTES = 64 << 10

# How a file starts -> FFmpeg's name of the format.
STARTS = (
    (b"DHAV", "dhav"), (b"DAHUA", "dhav"),  # Dahua and its many labels
    (b"HXVS", "hxvs"), (b"HXVT", "hxvs"),  # cameras that save to an FTP server
    (b"IMKH", "mpeg"),  # Hikvision: a header before the program stream
    (b"\x11\xd2\xd3\xab\xba\xa9\xcf\x11\x8e\xe6\x00\xc0\x0c\x20\x53\x65", "ifv"),
    (b"FLV\x01", "flv"), (b".RMF", "rm"), (b"DKIF", "ivf"), (b"YUV4MPEG2 ", "yuv4mpegpipe"), (b"NSVf", "nsv"),
    (b"nut/multimedia container\x00", "nut"), (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02", "mxf"),
    (b"\xb7\xd8\x00\x20\x37\x49\xda\x11\xa6\x4e\x00\x07\xe9\x5e\xad\x8d", "wtv"),
    (b"\x1f\x07\x00\x3f", "dv"), (b"\x1f\x07\x00\xbf", "dv"),
    (b"\x00\x00\x01\xba", "mpeg"), (b"\x00\x00\x01\xb3", "mpegvideo"),
    (b"\x00\x00\x01\xb0", "m4v"), (b"\x00\x00\x01\x00\x00\x00\x01\x20", "m4v"), (b"\x00\x00\x01\x20", "m4v"),
)
NO_FILM = {  # brands of mp4's family that are sound or pictures
    b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B ", b"aax ", b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"avif",
    b"crx ", b"jp2 ", b"jpx ", b"jpm ",
}
QUICKTIME = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}  # what stands first where `ftyp` does not
ASF, ASF_VIDEO = (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",
                  b"\xc0\xef\x19\xbc\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b")
OGG_VIDEO = (b"\x80theora", b"OVP80\x01", b"BBCD\x00", b"\x01video\x00")
TS_PACKETS = (188, 192, 204)
TS_SYNCS = 5  # sync bytes in a row that tell a transport stream
UNIT = re.compile(rb"\x00\x00\x01(..)", re.DOTALL)  # the start of a unit of H.264 or HEVC
H264_FIRST, H264_SPS = {6, 7, 8, 9}, 7
HEVC_FIRST, HEVC_SPS = {32, 33, 34, 35, 39}, 33


def looks_like_video(path: Path) -> bool:
    """Whether a file starts as videos do. False for what cannot be read."""
    return video_format(path) is not None


def video_format(path: Path) -> str | None:
    """FFmpeg's name of the format that a file's first bytes tell; None where they are of no video."""
    try:
        with path.open("rb") as file:
            return format_of(file.read(HEAD_BYTES))
    except OSError:
        return None


def format_of(head: bytes) -> str | None:
    """As `video_format`, of the first HEAD_BYTES of a file."""
    for start, name in STARTS:
        if head.startswith(start):
            return name
    return _boxes(head) or _chunks(head) or _transport_stream(head) or _units(head)


def _boxes(head: bytes) -> str | None:
    kind = head[4:8]
    if kind == b"ftyp":
        return None if head[8:12] in NO_FILM else "mov"
    return "mov" if kind in QUICKTIME else None


def _chunks(head: bytes) -> str | None:
    if head.startswith(b"RIFF") and head[8:12] in (b"AVI ", b"AVIX"):
        return "avi"
    if head.startswith(b"RIFF") and head[8:12] == b"CDXA":  # a film on a video CD
        return "mpeg"
    if head.startswith(b"\x1aE\xdf\xa3"):  # tracks that are told here, and none of pictures, are a sound file's
        return "matroska" if b"V_" in head or b"A_" not in head else None
    if head.startswith(ASF):
        return "asf" if ASF_VIDEO in head else None
    if head.startswith(b"OggS"):
        return "ogg" if any(mark in head for mark in OGG_VIDEO) else None
    return None


def _transport_stream(head: bytes) -> str | None:
    for length in TS_PACKETS:
        for first in range(length):
            packets = [head[at:at + 4] for at in range(first, len(head) - 3, length)][:TS_SYNCS]
            # The sync byte, no transport error, and a packet that holds something.
            if len(packets) == TS_SYNCS and all(p[0] == 0x47 and not p[1] & 0x80 and p[3] & 0x30 for p in packets):
                return "mpegts"
    return None


def _units(head: bytes) -> str | None:
    """A bare stream of units, as recorders write it under .264, .h264, .265: no container, no times."""
    if not head.startswith((b"\x00\x00\x01", b"\x00\x00\x00\x01")):
        return None
    heads = UNIT.findall(head)
    if not heads or heads[0][0] & 0x80:
        return None
    hevc = [unit[0] >> 1 for unit in heads]
    if hevc[0] in HEVC_FIRST and HEVC_SPS in hevc and heads[0][1] == 1:
        return "hevc"
    h264 = [unit[0] & 0x1F for unit in heads]
    return "h264" if h264[0] in H264_FIRST and H264_SPS in h264 else None
