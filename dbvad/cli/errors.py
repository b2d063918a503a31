"""Which exceptions are a message for the user, and not a fault of this program."""

import sys
from pathlib import Path

from pipeline.engine.files import FULL


class NoArtifacts(Exception):
    """There is no artifacts folder where the user said."""


def for_user(error: Exception) -> str | None:
    """What to tell the user: what is wrong and what to do. None for a fault of this program."""
    if any(base.__module__.split(".")[0] in ("pipeline", "dbvad") for base in type(error).__mro__):
        return str(error)
    if isinstance(error, OSError) and isinstance(error.filename, str | Path):
        return (f"{error.filename}: {error.strerror}; make that place fit to read and write, or name another "
                "(--artifacts, --config, --out)")
    if isinstance(error, UnicodeEncodeError) and sys.getfilesystemencoding() != "utf-8":
        return (f"names of files are {sys.getfilesystemencoding()} here, which cannot spell {error.object!r}: set "
                "PYTHONUTF8=1, and run the same again")
    if isinstance(error, OSError) and error.errno in FULL:
        return f"{error.strerror}: make room (the folder for temporary files counts too), then run the same again"
    return None


def need_artifacts(folder: Path) -> None:
    """Raises NoArtifacts, with the remedy, where commands that only look have nothing to look at."""
    if not folder.is_dir():
        raise NoArtifacts(f"no artifacts at {folder}: run `dbvad pipeline run` first, or name their folder with "
                          "--artifacts")
