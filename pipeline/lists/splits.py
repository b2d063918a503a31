"""What lists and folders call the splits of a dataset, and what validation videos count as."""

import re
from collections.abc import Iterable

from pipeline.lists.remarks import Remark

TRAIN, TEST, VAL = "train", "test", "val"
SPELLINGS = {TRAIN: TRAIN, "training": TRAIN, "trainval": TRAIN, TEST: TEST, "testing": TEST,
             VAL: VAL, "valid": VAL, "validation": VAL, "validating": VAL, "dev": VAL}


def read_split(text: str) -> str | None:
    """train, test or val as it is commonly spelt; None for anything else."""
    return SPELLINGS.get(text.strip().casefold())


def is_test_folder(name: str) -> bool:
    """Whether a folder's name says that it holds test videos: `test`, `Testing_Videos`, `XDTest`, but not `latest`."""
    return re.search(r"((?<![A-Za-z])[Tt][Ee][Ss][Tt]|(?<=[A-Za-z])Test)(s|set|ing)?(?![a-z])", name) is not None


def meaning_of_val(found: Iterable[str]) -> str:
    """What val counts as beside the splits found, chosen here.

    It is the test split where none is called test (RWF-2000 has train and val); else it is neither trained on nor
    tested.
    """
    return VAL if TEST in set(found) else TEST


def remarks_on_val(found: Iterable[str]) -> list[Remark]:
    """What to say of val videos, if there are any."""
    found = list(found)
    if VAL not in found:
        return []
    if meaning_of_val(found) == TEST:
        return [Remark("val", "no split is called test, so the val split is taken for it")]
    return [Remark("val", f"{found.count(VAL)} val videos are neither trained on nor tested, for there is a test split "
                          "too")]
