"""Text files of all systems are read; what is not text, or can be read two ways, is refused with its place."""

from pathlib import Path

import pytest

from pipeline.lists import ListError
from pipeline.lists.splits import is_test_folder, meaning_of_val, read_split, remarks_on_val
from pipeline.lists.table import read_table
from pipeline.lists.text import read_lines, read_text

TEXT = "video,label\nübung.mp4,火災\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "l.csv"
    path.write_bytes(TEXT.replace("\n", end).encode(encoding))
    assert [row.cells for row in read_table(path, ("video", "label")).rows] == [{"video": "übung.mp4", "label": "火災"}]
    assert [line.text for line in read_lines(path)] == TEXT.splitlines()


@pytest.mark.parametrize(("content", "message"), [
    (b"video,label\na.mp4,x\n caf\xe9.mp4,x\n", r"l.csv:3:5: byte 0xe9 is no UTF-8: save the file as UTF-8"),
    (TEXT.encode("utf-16-le"), r"l.csv:2:2: byte 0x7f|l.csv: it holds NUL|byte 0x"),
    ("video,label\n".encode("utf-16-le"), r"l.csv: it holds NUL, as UTF-16 without a mark does"),
])
def test_what_is_no_text(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "l.csv").write_bytes(content)
    with pytest.raises(ListError, match=message):
        read_text(tmp_path / "l.csv")


def test_comments_and_a_name_that_looks_like_an_end_of_line(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("# made by hand\n  # more\n\n  a\u2028b.mp4 1 2\n./#1.mp4 3 4\n", encoding="utf-8")
    lines = read_lines(tmp_path / "l.txt")
    assert [(line.text, line.at(0)) for line in lines] == [("a\u2028b.mp4 1 2", f"{tmp_path}/l.txt:4:3"),
                                                           ("./#1.mp4 3 4", f"{tmp_path}/l.txt:5:1")]


@pytest.mark.parametrize(("text", "message"), [
    ("file,path,label\na,b,c\n", r"l.csv:1: columns 'file' and 'path' could both be the video: call the one that is "
                                 r"meant 'video'"),
    ("video,label,label\na,b,c\n", "columns 'label' and 'label' could both be the label"),
    ("video,label\na,b,c\n", r"l.csv:2: 3 values for 2 columns: put quotes around a value that holds a comma"),
    ("video;label\na;b;c\n", "a value that holds a semicolon"),
    ("video,label\n,c\n", "l.csv:2: no video named"),
    ("a.mp4,fight\n", r"l.csv:1: no column 'video'; .*it is 'a.mp4,fight'"),
    ('video,label\n"a,b\n', "l.csv: unexpected end of data, line 2"),
    ("", "no column 'video'"),
])
def test_a_table_that_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(ListError, match=message):
        read_table(tmp_path / "l.csv", ("video", "label"))


def test_a_table_in_the_ways_of_spreadsheets(tmp_path: Path) -> None:
    """A column's own name holds before what else it may be called; empty cells at the end do not count."""
    (tmp_path / "l.csv").write_text('sep=;\n# exported\nPath; "Video"; LABEL ;note;;\n/x/a; "a;1"; fight;;;\n;b\n')
    table = read_table(tmp_path / "l.csv", ("video", "label"), ("split",))
    assert table.columns == {"video": "Video", "label": "LABEL"}
    assert [(row["video"], row["label"], row["split"]) for row in table.rows] == [("a;1", "fight", ""), ("b", "", "")]


def test_splits() -> None:
    assert [read_split(text) for text in ("Train", " TESTING ", "valid", "validation", "dev", "trainval", "fight", "")
            ] == ["train", "test", "val", "val", "val", "train", None, None]
    assert (meaning_of_val(["train", "val"]), meaning_of_val(["train", "val", "test"])) == ("test", "val")
    assert "taken for it" in str(remarks_on_val(["train", "val"])[0])
    assert "2 val videos are neither trained on nor tested" in str(remarks_on_val(["val", "val", "test"])[0])
    assert remarks_on_val(["train", "test"]) == []


@pytest.mark.parametrize(("name", "is_test"), [
    ("test", True), ("Testing_Videos", True), ("XDTest", True), ("RGBTest", True), ("test_videos", True),
    ("TEST", True),
    ("latest", False), ("contest", False), ("testimonies", False), ("attested", False), ("train", False),
])
def test_folders_of_test_videos(name: str, is_test: bool) -> None:
    assert is_test_folder(name) is is_test
