"""Scores and events as pictures: a timeline to look at, and the score drawn onto a film."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dbvad.detection.outputs import caption
from dbvad.scoring.events import Event, Snippet, Thresholds
from pipeline.engine.files import atomic_file
from pipeline.instruments import video, video_out
from pipeline.words import counted

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 1200, 300, 48, 16, 36, 40
INK, GRID, CURVE, BAND, LINE = "#1c2430", "#d5dae2", "#1f5fbf", "#f7c9c4", "#b3261e"
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)  # seconds between marks
MARKS = 10  # on the time axis, at most
SHORT_SIDE = 480  # pixels of an overlay, at most
FRAME_RATE = 25.0  # where a video does not say its own


def timeline(path: Path, title: str, snippets: Sequence[Snippet], events: Sequence[Event], thresholds: Thresholds,
             ) -> None:
    """A PNG of the score over time, the thresholds, and the events as bands."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    end = max(snippets[-1].end_s, 1e-3) if snippets else 1.0

    def x(seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * seconds / end

    def y(score: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - score)

    draw.text((LEFT, 10), _printable(f"{title}: {counted(len(events), 'event')}"), INK, font)
    for event in events:
        draw.rectangle((x(event.start_s), y(1), max(x(event.start_s) + 1, x(event.end_s)), y(0)), fill=BAND)
    step = next((tick for tick in TICKS if end / tick <= MARKS), end / MARKS)
    for mark in np.arange(0, end + 1e-9, step):
        draw.line((x(mark), y(0), x(mark), y(0) + 4), INK)
        draw.text((x(mark), y(0) + 8), _clock(float(mark)), INK, font, anchor="ma")
    for score in (0.0, 0.5, 1.0):
        draw.line((LEFT, y(score), WIDTH - RIGHT, y(score)), GRID)
        draw.text((LEFT - 6, y(score)), f"{score:g}", INK, font, anchor="rm")
    for threshold in (thresholds.on, thresholds.off):
        for start in range(LEFT, WIDTH - RIGHT, 10):
            draw.line((start, y(threshold), start + 5, y(threshold)), LINE)
    points = [(x(at), y(s.score)) for s in snippets for at in (s.start_s, s.end_s)]
    if points:
        draw.line(points, CURVE, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        picture.save(temporary, "PNG")


def overlay(path: Path, source: Path, snippets: Sequence[Snippet], events: Sequence[Event], fps: float) -> None:
    """The video once more, as H.264, with the score as a bar below and a frame around what belongs to an event.

    Raises VideoError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        video_out.write(temporary, _annotated(source, snippets, events), fps or FRAME_RATE)


def _annotated(source: Path, snippets: Sequence[Snippet], events: Sequence[Event],
               ) -> Iterator[tuple[float, np.ndarray]]:
    starts = np.array([snippet.start_frame for snippet in snippets])
    font = ImageFont.load_default(14)
    for frame in video.decode(source, short_side=SHORT_SIDE):
        picture = Image.fromarray(frame.image)
        draw, (width, height) = ImageDraw.Draw(picture), picture.size
        score = snippets[max(0, int(np.searchsorted(starts, frame.index, side="right")) - 1)].score if snippets else 0.0
        inside = next((event for event in events if event.start_frame <= frame.index < event.end_frame), None)
        draw.rectangle((0, height - 10, width, height), fill="#000000")
        draw.rectangle((0, height - 10, width * score, height), fill=LINE if inside else CURVE)
        _label(draw, (6, height - 30), f"{_clock(frame.pts_s)}  {score:.2f}", font)
        if inside:
            draw.rectangle((0, 0, width - 1, height - 1), outline=LINE, width=4)
            _label(draw, (10, 8), caption(inside), font)
        yield frame.pts_s, np.asarray(picture)


def _label(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, font: Font) -> None:
    draw.rectangle(draw.textbbox(at, _printable(text), font=font), fill="#000000")
    draw.text(at, _printable(text), "#ffffff", font)


def _printable(text: str) -> str:
    """What Pillow's own font can draw."""
    return text.encode("latin-1", "replace").decode("latin-1")


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}" if whole >= 3600 else (
        f"{whole // 60}:{whole % 60:02d}")
