"""Whatever a file holds, it is read or refused by one message; a reader never breaks on it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lists import ListError
from pipeline.lists.annotations import read_annotations
from pipeline.lists.labels import class_in_path, says_normal
from pipeline.lists.published import UCF_CLASSES
from pipeline.lists.table import read_table
from pipeline.lists.videos import read_videos

# Pieces of real files, so that most of what is put together is nearly a known form.
PIECE = st.sampled_from([
    "Abuse/", "Abuse028_x264", ".mp4", "__3.npy", "Abuse", "Normal", "-1", "0", "165", "240", "1.5", "00:01:02", "B2",
    "_label_B2-0-0", "video", "label", "start", "end", "start_s", "end_s", ",", ";", "\t", " ", "  ", "|", "[", "]",
    "{", "}", '"', "#", "\n", "\r\n", "database", "annotations", "segment", ":", "# CSV_HEADER = file_list,"
    "temporal_coordinates,metadata\n", "火災", "\u0308", "\u2028", "/home/x/", "C:\\"])
TEXT = st.one_of(st.lists(PIECE, max_size=40).map("".join), st.text(max_size=80))


def told(read: Callable[[], object], otherwise: str) -> str:
    """The message of a refusal."""
    try:
        read()
    except ListError as error:
        return str(error)
    return otherwise


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


@settings(max_examples=300, deadline=None)
@given(content=st.one_of(TEXT.map(str.encode), st.binary(max_size=60)),
       suffix=st.sampled_from([".txt", ".csv", ".json"]))
def test_any_file_is_read_or_refused(folder: Path, content: bytes, suffix: str) -> None:
    path = folder / f"any{suffix}"
    path.write_bytes(content)
    for read in (lambda: read_annotations(path),
                 lambda: read_videos(path, lambda name: class_in_path(name, UCF_CLASSES, says_normal)),
                 lambda: read_table(path, ("video", "label"))):
        assert str(path) in told(read, str(path))


@settings(max_examples=100, deadline=None)
@given(content=TEXT, form=st.sampled_from(["ucf-crime", "xd-violence", "csv", "json", "via"]))
def test_any_file_as_any_form(folder: Path, content: str, form: str) -> None:
    path = folder / "any.txt"
    path.write_text(content, encoding="utf-8", newline="")
    assert str(path) in told(lambda: read_annotations(path, form), str(path))  # type: ignore[arg-type]
