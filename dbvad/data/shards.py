"""What training and evaluation ask of the artifacts: today's dataset, its shards, and the error where one lacks."""

from pipeline.engine.shard import Footer
from pipeline.engine.store import Store
from pipeline.manifest import Entry, Manifest, NoManifest, holds, read

RUN_PIPELINE = "run `dbvad pipeline run`"


class DataError(ValueError):
    """Artifacts that cannot be trained or evaluated on; the message says what is missing and what to do."""


def manifest_of(store: Store) -> Manifest:
    """Today's dataset. Raises DataError."""
    if not store.root.is_dir():
        raise DataError(f"no artifacts in {store}: {RUN_PIPELINE} first, or name another folder by --artifacts")
    try:
        return read(store.root)
    except NoManifest as error:
        raise DataError(str(error)) from None


def current(store: Store, stage: str, entry: Entry) -> Footer | None:
    """The footer of today's shard; None where there is none, or another one. Raises Damaged."""
    footer = store.whole_footer(stage, entry.video_id)
    return footer if footer is not None and holds(entry, stage, footer) else None
