"""Names of classes in any writing system: which are the same, which mean normal, and which one a path names."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

from pipeline.lists.names import base_name, path_parts
from pipeline.lists.remarks import Remark, remarks_on

UNNAMED = "anomaly"  # the class of videos that a list calls abnormal and no more
FLAGS = {"0": False, "1": True}
SAID_NOTHING = "ZPC"  # Unicode categories of blanks, punctuation and control characters


def label_key(label: str) -> str:
    """What is compared of a label: compatible forms and case are one, blanks and punctuation do not count.

    Letters, marks, digits and symbols of all scripts do. "Road Accidents", "road_accidents" and "RoadAccidents" have
    one key; "火災" and "打架" have two.
    """
    folded = _seen_alike(label)
    said = "".join(char for char in folded if unicodedata.category(char)[0] not in SAID_NOTHING)
    return said or folded.strip()


def _seen_alike(label: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    return "".join(char for char in folded if unicodedata.category(char) != "Cf")


def same_label(one: str, other: str) -> bool:
    """Whether two texts name one class."""
    return label_key(one) == label_key(other)


def find_label(label: str, known: Iterable[str]) -> str | None:
    """The known label that is spelt so, else the only one with the same key; None if there is none."""
    known = list(known)
    if label in known:
        return label
    same = [other for other in known if same_label(label, other)]
    return same[0] if len(same) == 1 else None


def one_spelling(labels: Iterable[str]) -> dict[str, str]:
    """Each label -> its first spelling, where labels differ in case, compatible forms or invisible characters only."""
    first: dict[str, str] = {}
    return {label: first.setdefault(_seen_alike(label), label) for label in labels}


def remarks_on_spelling(spelling: Mapping[str, str]) -> list[Remark]:
    """What to say of labels that are spelt in several ways."""
    return remarks_on(("spelling", "labels spelt in two ways are one class", [
        f"{label!r} is {chosen!r}" for label, chosen in spelling.items() if label != chosen]))


def says_normal(name: str) -> bool:
    """Whether a folder's name holds the word normal: `Training_Normal_Videos_Anomaly` does, `abnormal` does not."""
    return "normal" in re.split(r"[\W_]+", name.casefold())


def are_flags(texts: Iterable[str]) -> bool:
    """Whether all texts are 0 or 1."""
    found = {text.strip() for text in texts}
    return bool(found) and found <= FLAGS.keys()


def class_in_path(name: str, classes: Sequence[str], is_normal: Callable[[str], bool]) -> str | None:
    """The class, or what means normal, that a path names; None if it names none.

    It is the folder nearest to the file that is one, else how the file's name begins before its number, as in
    `Abuse028_x264` and `Normal_Videos_003`.
    """
    *folders, _ = path_parts(name) or [""]
    begin = re.match(r"(.*?)[\W_]*\d", base_name(name))
    for text in (*reversed(folders), begin[1] if begin else ""):
        if text and (is_normal(text) or find_label(text, classes)):
            return text
    return None
