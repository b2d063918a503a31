"""The option `--artifacts`: a folder, or the URL of a bucket, which becomes the folder of its mirror."""

from pathlib import Path
from typing import Annotated

import typer


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


ArtifactsOption = Annotated[Path, typer.Option("--artifacts", "-a", parser=anywhere, metavar="FOLDER|URL",
                                               help="Folder of the artifacts, or s3://bucket/prefix.")]
