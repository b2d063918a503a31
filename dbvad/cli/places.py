"""The option `--artifacts`: a folder, or the URL of a bucket, which becomes the folder of its mirror."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

STORES = ("s3://", "gs://", "az://", "abfs://", "hdfs://")


def anywhere(value: str | Path) -> Path:
    """The folder that stands for a folder or a URL. Raises StorageError."""
    from pipeline.engine.place import local

    return local(value)


def here(value: str | Path) -> Path:
    """A folder of this machine. Raises a usage error for a URL."""
    if "://" in str(value):
        raise typer.BadParameter(f"{str(value).partition('://')[0]}:// cannot be used here: this command keeps more "
                                 "than shards, so name a local folder (docs/storage.md says which take a URL)")
    return Path(value)


def refuse_urls(arguments: Sequence[str]) -> None:
    """Raises a usage error for a store's URL where a path is wanted: it would become a folder called `s3:`."""
    for before, argument in pairwise(["", *arguments]):
        if argument.partition("=")[2].startswith(STORES) and argument.startswith("--"):
            before, _, argument = argument.partition("=")
        if argument.startswith(STORES) and before not in ("--artifacts", "-a"):
            raise typer.BadParameter(f"{argument.partition('?')[0].rpartition('@')[2]!r}: a URL of a store goes to "
                                     f"--artifacts, and to dataset.videos in stages.yaml; here a path is wanted")


def artifacts_option(folder: Path) -> str:
    """What names a folder of artifacts in a command that is told, with a space before it; "" for the usual one."""
    from pipeline.engine.place import place_of

    return "" if folder == Path("artifacts") else f" --artifacts {place_of(folder)}"


ArtifactsOption = Annotated[Path, typer.Option("--artifacts", "-a", parser=anywhere, metavar="FOLDER|URL",
                                               help="Folder of the artifacts, or s3://bucket/prefix.")]
