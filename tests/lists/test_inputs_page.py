"""Every form that docs/inputs.md shows is read as it says, from the very lines that stand there."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbvad import presets
from dbvad.importing.lists import Labels, read_list
from pipeline.lists.annotations import read_annotations
from pipeline.stages.labels import Facts, from_csv, from_folders

PAGE = Path(__file__).parents[2] / "docs" / "inputs.md"
UCF, XD, ANY = (Labels(preset.labels, preset.event_classes) if preset else Labels()
                for preset in (presets.load("ucf-crime"), presets.load("xd-violence"), None))


def rows_of(heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading: form -> the lines of its example."""
    section = re.split(r"\n##+ ", PAGE.read_text(encoding="utf-8").split(f"### {heading}\n")[1])[0]
    found = {}
    for line in section.splitlines():
        if line.startswith("| ") and not line.startswith("| form "):
            form, example, *_ = (cell.replace("\\|", "|") for cell in re.split(r" (?<!\\)\| ", line[2:]))
            found[form] = [code.replace("⇥", "\t") for code in re.findall(r"`([^`]+)`", example)]
    return found


def written(folder: Path, name: str, lines: list[str]) -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


FIGHT, QUIET, TEST_FIGHT, TEST_QUIET = (Facts("train", ("fight",)), Facts("train", ()), Facts("test", ("fight",)),
                                        Facts("test", ()))
FOLDERS: dict[str, tuple[str, list[Facts]]] = {
    "label folders": ("normal", [FIGHT, QUIET]),
    "split, label": ("normal", [FIGHT, TEST_QUIET]),
    "train and val only": ("NonFight", [Facts("train", ("Fight",)), TEST_QUIET]),
    "behind other folders": ("NonFight", [Facts("train", ("Fight",)), TEST_QUIET]),
    "label, split": ("normal", [FIGHT, TEST_QUIET]),
    "training, testing, validation": ("normal", [FIGHT, TEST_QUIET, Facts("val", ("fight",))]),
}


@pytest.mark.parametrize("form", rows_of("Folders"))
def test_folders(form: str) -> None:
    normal, expected = FOLDERS[form]
    ids = rows_of("Folders")[form]
    assert [from_folders(normal, 0.0).over(ids)(video_id) for video_id in ids] == expected


LISTS: dict[str, tuple[Labels, list[tuple[str, ...]]]] = {
    "official": (UCF, [("Abuse",)]),
    "frame counts behind": (UCF, [("Arrest",)]),
    "class numbers behind": (ANY, [("Arson",)]),
    "a line a crop": (UCF, [()]),
    "no class folder": (UCF, [("Stealing",)]),
    "placeholders": (UCF, [()]),
    "other normal folders": (UCF, [()]),
    "Windows paths": (UCF, [("Abuse",)]),
    "path,label": (UCF, [("Abuse",)]),
    "name,flag": (ANY, [("anomaly",), ()]),
    "name,flag,count": (ANY, [("anomaly",), ()]),
    "name class,class": (ANY, [("fighting", "chasing")]),
    "annotations as a list": (ANY, [("Abuse",)]),
    "annotations with bars": (UCF, [("Arson",)]),
    "labels in names": (XD, [()]),
    "labels in names, `_i3d`": (XD, [("fighting",)]),
}


@pytest.mark.parametrize("form", rows_of("Lists of videos"))
def test_lists(tmp_path: Path, form: str) -> None:
    labels, expected = LISTS[form]
    lines = rows_of("Lists of videos")[form]
    entries = read_list(written(tmp_path, "some.list", lines), "test", labels)
    assert [entry.labels for entry in entries] == expected
    for entry, line in zip(entries, lines[-len(entries):], strict=True):  # what follows the name is no part of it
        assert re.fullmatch(r"[^\s|,]+", entry.name)
        assert line.startswith(entry.name)
        assert re.match(r"[\s|,]|$", line[len(entry.name):])


TABLES: dict[str, dict[str, Facts]] = {
    "plain": {"a.mp4": Facts("test", ("fight", "arson")), "b.mp4": QUIET},
    "capitals and blanks": {"a.mp4": TEST_FIGHT, "b.mp4": QUIET},
    "semicolons": {"a.mp4": TEST_FIGHT},
    "tabs": {"a.mp4": TEST_FIGHT},
    "other names": {"a.mp4": TEST_FIGHT},
    "flags": {"a.mp4": Facts("train", ("anomaly",)), "b.mp4": QUIET},
}


@pytest.mark.parametrize("form", rows_of("Tables of labels"))
def test_tables(tmp_path: Path, form: str) -> None:
    read = from_csv(written(tmp_path, "labels.csv", rows_of("Tables of labels")[form]), "normal")
    assert {video_id: read(video_id) for video_id in TABLES[form]} == TABLES[form]


Found = dict[str, list[tuple[Any, ...]]]
EVENTS: dict[str, tuple[str, str, Found]] = {  # form -> what auto takes it for, its unit, and the events
    "UCF-Crime": ("ucf-crime", "frames", {"Arson011_x264.mp4": [(150, 420, "Arson"), (680, 1267, "Arson")],
                                          "Normal_Videos_003_x264.mp4": []}),
    "count before the class": ("ucf-crime", "frames", {"Abuse/Abuse028_x264.mp4": [(165, 240, "Abuse")]}),
    "tabs, count at the end": ("ucf-crime", "frames", {
        "Shooting046_x264.mp4": [(4005, 4230, "Shooting"), (4760, 5088, "Shooting")],
        "Normal_Videos_944_x264.mp4": []}),
    "bars": ("ucf-crime", "frames", {"Arson/Arson011_x264.mp4": [(150, 420, "Arson"), (680, 1267, "Arson")],
                                     "Normal_Videos_event/Normal_Videos_027_x264.mp4": []}),
    "XD-Violence": ("xd-violence", "frames", {"Casino.Royale.2006__#00-26-00_label_B2-0-0": [(77, 143, ""),
                                                                                           (500, 612, "")]}),
    "class before each pair": ("xd-violence", "frames", {"Salt.2010__#01-06-27_01-07-07_label_G-B2-0": [
        (50, 84, "shooting"), (25, 92, "explosion"), (119, 137, "shooting")]}),
    "CSV in frames": ("csv", "frames", {"a.mp4": [(10, 19, "fire")], "quiet.mp4": []}),
    "CSV in seconds": ("csv", "seconds", {"a.mp4": [(Fraction("4.1"), Fraction("8.3"), "")]}),
    "clock times": ("csv", "seconds", {"a.mp4": [(Fraction("62.5"), Fraction("64.25"), "fight")]}),
    "MSAD": ("csv", "frames", {"Assault_1": [(54, 425, "")]}),
    "ActivityNet": ("json", "seconds", {"MyVideo_191": [(Fraction("93.1"), Fraction("98.2"), "fight")]}),
    "VIA": ("via", "seconds", {"a.mp4": [(Fraction("1.2"), Fraction("3.4"), "fight")]}),
    "frame masks": ("masks", "frames", {"01_0014": [(1, 3, ""), (5, 6, "")]}),
    "a value a line": ("masks", "frames", {"F_0_1_0_0_0": [(1, 3, ""), (5, 6, "")]}),
}
MASK = [0, 1, 1, 0, 0, 1]


def annotations_of(folder: Path, form: str) -> Path:
    lines = rows_of("Annotations: when events happen")[form]
    if form == "frame masks":
        np.save(folder / lines[0], np.array(MASK, np.uint8))
        return folder
    if form == "a value a line":
        written(folder, lines[0], list(map(str, MASK)))
        return folder
    return written(folder, "annotations.txt", lines)


@pytest.mark.parametrize("form", rows_of("Annotations: when events happen"))
def test_annotations(tmp_path: Path, form: str) -> None:
    kind, unit, expected = EVENTS[form]
    path = annotations_of(tmp_path, form)
    read = read_annotations(path)
    assert (read.format, read.unit) == (kind, unit)
    assert {name: [(event.start, event.end, event.label) for event in found]
            for name, found in read.events.items()} == expected
    assert read_annotations(path, kind) == read  # type: ignore[arg-type]


def test_every_form_here_is_on_the_page() -> None:
    for heading, known in (("Folders", FOLDERS), ("Lists of videos", LISTS), ("Tables of labels", TABLES),
                           ("Annotations: when events happen", EVENTS)):
        assert list(rows_of(heading)) == list(known)
