"""Labels in any writing system: which are the same, which mean normal, which one a path names."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lists.labels import (
    class_in_path,
    find_label,
    label_key,
    one_spelling,
    remarks_on_spelling,
    same_label,
    says_normal,
)
from pipeline.lists.published import UCF_CLASSES

LABEL = st.text(min_size=1, max_size=12)


@pytest.mark.parametrize(("one", "other"), [
    ("Road Accidents", "RoadAccidents"), ("road_accidents", "ROAD-ACCIDENTS"), ("Straße", "STRASSE"),
    ("ｆｉｇｈｔ", "fight"), ("Überfall", "U\u0308berfall"), ("火災", " 火災 "), ("драка", "ДРАКА"),
])
def test_the_same_label(one: str, other: str) -> None:
    assert same_label(one, other)


@pytest.mark.parametrize(("one", "other"), [
    ("火災", "打架"), ("打架", "盗窃"), ("драка", "кража"), ("लड़ाई", "लड़ाका"), ("🔥", "💥"), ("!", "?"),
    ("fight", "fights"),
])
def test_other_labels(one: str, other: str) -> None:
    assert not same_label(one, other)


@given(LABEL, LABEL)
def test_labels_are_told_apart_by_their_letters_and_by_nothing_else(one: str, other: str) -> None:
    def said(label: str) -> list[str]:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
        return [char for char in folded if char.isalnum()]

    if said(one) != said(other):
        assert not same_label(one, other)
    assert label_key(one)[:1] != "" or not one.strip()
    assert same_label(one, unicodedata.normalize("NFD", one))


def test_a_label_that_is_spelt_so_holds_before_one_that_is_alike() -> None:
    assert find_label("Fire", ["fire", "Fire", "smoke"]) == "Fire"
    assert find_label("FIRE", ["Fire", "smoke"]) == "Fire"
    assert find_label("FIRE", ["fire", "Fire"]) is None  # either could be meant
    assert find_label("fog", ["Fire"]) is None


def test_labels_that_look_alike_are_one_class_in_the_first_spelling() -> None:
    spelling = one_spelling(["Fight", "fight", "fight\u200b", "fi ght", "ｆｉｇｈｔ", "火災", "打架", "A-1", "A1"])
    assert spelling == {"Fight": "Fight", "fight": "Fight", "fight\u200b": "Fight", "ｆｉｇｈｔ": "Fight",
                        "fi ght": "fi ght", "火災": "火災", "打架": "打架", "A-1": "A-1", "A1": "A1"}
    assert [str(remark) for remark in remarks_on_spelling({"Fight": "Fight", "fight": "Fight"})] == [
        "labels spelt in two ways are one class (1): 'fight' is 'Fight'"]
    assert remarks_on_spelling({"Fight": "Fight"}) == []


@pytest.mark.parametrize(("folder", "normal"), [
    ("Training_Normal_Videos_Anomaly", True), ("Testing-Normal-Videos-Part-1", True), ("normal", True),
    ("abnormal", False), ("Abnormal_Videos", False), ("Abuse", False),
])
def test_folders_of_normal_videos(folder: str, normal: bool) -> None:
    assert says_normal(folder) is normal


@pytest.mark.parametrize(("name", "found"), [
    ("dataset/Abuse/Abuse001_x264", "Abuse"), ("Arson/part1/x", "Arson"), ("x/abnormal/Abuse028_x264_i3d", "Abuse"),
    ("Normal_Videos_003_x264", "Normal_Videos"), ("RoadAccidents132_x264", "RoadAccidents"), ("clip001", None),
    ("a/b/c", None), ("", None),
])
def test_a_path_names_its_class(name: str, found: str | None) -> None:
    assert class_in_path(name, UCF_CLASSES, says_normal) == found
