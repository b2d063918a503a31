"""The log of events: numbers go on, it turns over, and a full disk costs nothing."""

import json
from pathlib import Path

import pytest

from dbvad.detection.live.journal import KEEP, Journal, Line, fold, told


def numbers(journal: Journal, since: int = 0) -> list[int]:
    return [line["seq"] for line in journal.since(since)]


def test_numbers_go_on_after_a_restart_and_a_half_line_is_taken_off(tmp_path: Path) -> None:
    journal, heard = Journal(tmp_path), []
    journal.hear.append(heard.append)
    first = journal.add(kind="begin", id="a")
    assert heard == [first]
    assert first["at"].endswith("Z")
    with journal.path.open("a") as file:
        file.write('{"seq": 2, "kin')
    again = Journal(tmp_path)
    assert again.add(kind="end", id="a")["seq"] == 2
    assert [json.loads(line)["kind"] for line in journal.path.read_text().splitlines()] == ["begin", "end"]


def test_it_turns_over_and_keeps_the_newest(tmp_path: Path) -> None:
    journal = Journal(tmp_path, rotate_bytes=200)
    for _ in range(300):
        journal.add(kind="update", id="a")
    kept = numbers(journal)
    assert len(list(tmp_path.glob("events.*"))) <= KEEP
    assert kept == list(range(kept[0], 301))
    assert numbers(journal, 290) == list(range(291, 301))
    assert Journal(tmp_path, rotate_bytes=200).add(kind="end", id="a")["seq"] == 301


def test_a_full_disk_holds_lines_back_and_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    journal.add(id="a")
    with monkeypatch.context() as full:
        full.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        assert journal.add(id="b")["seq"] == 2
        assert journal.fault == "No space left on device"
        assert numbers(journal) == [1]
    journal.retry()
    assert journal.fault == ""
    assert [line["id"] for line in journal.since(0)] == ["a", "b"]


def test_a_spoilt_line_costs_itself(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for _ in range(3):
        journal.add(id="a")
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(lines[0] + b"\xff{" + lines[1][2:] + lines[2])
    assert numbers(journal) == [1, 3]
    assert Journal(tmp_path).seq == 3


def test_what_is_held_is_told_on_release_and_what_is_suppressed_never(tmp_path: Path) -> None:
    journal, heard = Journal(tmp_path), []
    journal.hear.append(heard.append)
    journal.hold("a")
    journal.hold("b")
    for id in "abc":
        journal.add(kind="begin", id=id)
    assert [line["id"] for line in heard if told(line)] == ["c"]
    journal.release("a", verified="confirmed")
    journal.suppress("b")
    journal.add(kind="end", id="a")
    journal.add(kind="end", id="b")
    assert [(line["kind"], line["id"], line.get("verified")) for line in heard if told(line)] == [
        ("begin", "c", None), ("begin", "a", "confirmed"), ("end", "a", None)]
    assert heard == list(journal.since(0))
    events: dict[str, Line] = {}
    for line in heard:
        events[line["id"]] = fold(events.get(line["id"], {}), line)
    assert {id: (event["kind"], event.get("withheld")) for id, event in events.items()} == {
        "a": ("end", None), "b": ("end", "suppressed"), "c": ("begin", None)}


def test_what_a_killed_watch_held_is_told_by_the_next(tmp_path: Path) -> None:
    journal = Journal(tmp_path, rotate_bytes=400)  # it turns over in between
    for id in "abc":
        journal.hold(id)
    for kind in ("begin", "end"):
        journal.add(kind=kind, id="a")
    for id in "bc":
        journal.add(kind="begin", id=id)
    journal.release("b")
    journal.suppress("c")
    journal.add(kind="update", id="c")
    assert len(list(tmp_path.glob("events.*.jsonl"))) == 1
    after = Journal(tmp_path)
    assert after.held() == ["a"]
    after.release("a")
    assert [(line["kind"], line["id"]) for line in after.since(journal.seq)] == [("begin", "a"), ("end", "a")]
    assert Journal(tmp_path).held() == []
