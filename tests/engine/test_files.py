"""Files written whole or not at all: errors that name the path, leftovers of the dead, records that nobody changed."""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.files import (
    Damaged,
    WriteError,
    atomic_file,
    read_record,
    read_sealed,
    sweep_dead,
    write_record,
    write_sealed,
)
from pipeline.engine.lines import damaged, is_whole, line, whole_lines
from pipeline.engine.printable import printable
from tests.damage import flip, small_disk

values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                      | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
                      | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8)
contents = st.dictionaries(st.text(max_size=5).filter(lambda key: key != "digest"), values, max_size=4)


def test_a_failure_of_writing_names_the_file_and_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_record(path, {"n": 1})
    with small_disk(10), pytest.raises(WriteError, match=r"cannot write .*a\.json: File too large\. What was finished "
                                                         r"is kept: make room there"):
        write_record(path, {"n": 2})
    assert read_record(path, "") == {"n": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"cannot write .*file/a\.json: .*make that place fit to write"):
        write_record(tmp_path / "file" / "a.json", {})


def test_errors_that_are_not_of_writing_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_file(tmp_path / "a"):
        Path("/elsewhere/b").read_bytes()
    with pytest.raises(ValueError, match="odd"), atomic_file(tmp_path / "a"):
        raise ValueError("odd")
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.engine.files import atomic_file
with atomic_file(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary.name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_temporary_files_of_the_dead_are_swept_where_the_next_one_writes(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a")], capture_output=True, text=True)
    left = tmp_path / done.stdout.strip()
    living = tmp_path / left.name.replace(left.name.split("-")[-2], str(os.getppid()))
    elsewhere = tmp_path / f".a.tmp-{'0' * 8}-{left.name.split('-')[-2]}-1"  # of another machine
    forgotten = tmp_path / f".b.tmp-{'0' * 8}-1-1"
    for path in (living, elsewhere, forgotten):
        path.touch()
    os.utime(forgotten, (time.time() - 90_000,) * 2)
    assert left.exists()
    sweep_dead.cache_clear()
    write_record(tmp_path / "b", {})
    assert {path.name for path in tmp_path.iterdir()} == {"b", living.name, elsewhere.name}


@given(contents)
def test_a_record_is_read_as_it_was_written(content: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_record(Path(folder) / "a", content)
        assert read_record(Path(folder) / "a", "") == content


def test_every_flip_in_a_record_is_met_or_changes_nothing(tmp_path: Path) -> None:
    path, content = tmp_path / "a", {"auc": 0.9123, "names": ["ä", "b"], "none": None, "deep": {"x": 1e-9, "y": True}}
    write_record(path, content)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (1, 16):
            path.write_bytes(whole)
            flip(path, place, bit)
            with suppress(Damaged):
                assert read_record(path, "") == content


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"auc": 1}', '{"auc": 1, "digest": 5}', "\x00"])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(Damaged, match=r"a is damaged: it .*\. Do it again|not what was written"):
        read_record(tmp_path / "a", "Do it again")


@given(st.binary(max_size=50), st.data())
def test_sealed_bytes_are_read_as_they_were_written_or_not_at_all(content: bytes, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        write_sealed(path, content)
        assert read_sealed(path, "") == content
        whole = path.read_bytes()
        flip(path, data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255)))
        with pytest.raises(Damaged):
            read_sealed(path, "")
        path.write_bytes(whole[:data.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(Damaged):
            read_sealed(path, "")


def test_every_flip_in_a_log_is_counted(tmp_path: Path) -> None:
    path, told = tmp_path / "a.jsonl", [{"n": 1, "text": "ä\x1b\udcff"}, {"n": 2}, {"n": 3}]
    whole = "".join(map(line, told)).encode()
    path.write_bytes(whole)
    assert (damaged(path), list(whole_lines(path))) == (0, told)
    assert all(json.loads(raw)["crc"] and is_whole(raw) for raw in whole.splitlines())
    for place in range(len(whole)):
        for value in (whole[place] ^ 1, ord("\n")):
            if value != whole[place]:
                path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1:])
                assert damaged(path) >= 1
                assert all(one in told for one in whole_lines(path))
    path.write_bytes(whole[:-4])  # cut off by a power loss
    assert (damaged(path), list(whole_lines(path))) == (1, told[:2])


@pytest.mark.parametrize(("text", "shown"), [
    ("plain ünï 事 😀\n\ttab", "plain ünï 事 😀\n\ttab"), ("\x1b[31mred\x07", "\\u001b[31mred\\u0007"),
    ("a\rb\x7f\x9b", "a\\u000db\\u007f\\u009b"), ("exe\u202egnp.mp4", "exe\\u202egnp.mp4"),
    ("a\u2066b\u200f\u061c\u2028", "a\\u2066b\\u200f\\u061c\\u2028"), ("odd \udcff", "odd \\udcff")])
def test_nothing_of_a_name_moves_the_cursor_or_turns_the_text(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text
