"""Removes what killed writers left: temporary files beside the shards.

To list the folders of six million shards takes seconds. But nothing can come into a folder without changing the
folder's own stamp, so it is noted which folders were found without such files, and what folders are in them; those that
have the stamp that was noted are not listed again. As for shards (seen.py), only a stamp that has settled is noted.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.engine.files import TEMP_MARK, Damaged, read_sealed, write_sealed
from pipeline.engine.seen import FOLDER, SETTLED_NS, clock_ns
from pipeline.engine.stamps import folder_stamp

NOTES = ".folders"  # in the folder of what was seen
Clean = dict[str, list[Any]]  # by folder: its stamp in hex, and the names of the folders in it


def sweep(root: Path, stages: Iterable[str]) -> int:
    """Remove temporary files that an interrupted run of `stages` left; only while no other run is at work.

    Returns how many.
    """
    tops = [*stages, "quarantine"]
    notes, before, now = root / FOLDER / NOTES, Clean(), Clean()
    with suppress(OSError, Damaged, ValueError):
        before = json.loads(read_sealed(notes, "It is made anew"))
    settled_ns = clock_ns(notes.parent) - SETTLED_NS
    left = [str(path) for path in root.glob(f".*{TEMP_MARK}*")]  # of the caches of hashes
    folders = list(tops)
    while folders:
        folder = folders.pop()
        try:
            seen = os.stat(root / folder)
            stamp = folder_stamp(seen)
            known, inside = before.get(folder, ["", []])
            if known != stamp:
                found, inside = _listed(root / folder)
                left += found
                if found or seen.st_ctime_ns >= settled_ns:
                    stamp = ""
        except FileNotFoundError:
            continue
        folders += [f"{folder}/{name}" for name in inside]
        if stamp:
            now[folder] = [stamp, inside]
    for path in left:
        Path(path).unlink(missing_ok=True)
    now |= {folder: noted for folder, noted in before.items() if folder.partition("/")[0] not in tops}
    if now != before:
        with suppress(OSError):
            write_sealed(notes, json.dumps(now).encode())
    return len(left)


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """The temporary files in a folder, and the names of the folders in it."""
    found, inside = [], []
    for entry in os.scandir(folder):
        if entry.name.startswith(".") and TEMP_MARK in entry.name:
            found.append(entry.path)
        elif entry.is_dir():
            inside.append(entry.name)
    return found, inside
