"""A manifest for shards that a test publishes by hand: every video that has any is in the dataset as it stands."""

from pathlib import Path

from pipeline.contracts import STAGES
from pipeline.engine.store import Store
from pipeline.manifest import Entry, Manifest, write


def write_manifest(root: Path) -> None:
    """List the videos of all shards and quarantine rows below `root`, with the fingerprints that these have."""
    store = Store(root)
    prints: dict[str, dict[str, str]] = {}
    for stage in STAGES:
        for footer in filter(None, map(store.footer_at, store.shards(stage))):
            prints.setdefault(footer.video_id, {})[stage] = footer.fingerprint
    for row in store.quarantine_rows():
        prints.setdefault(row["video_id"], {}).setdefault(row["stage"], row["fingerprint"])
    entries = []
    for video_id, marks in prints.items():
        facts = store.read("ingest", video_id).to_pylist()[0] if store.path("ingest", video_id).exists() else {
            "split": "train", "labels": [], "source_hash": "", "size": 0}
        entries.append(Entry(video_id, facts["split"], tuple(facts["labels"]), facts["source_hash"], facts["size"], "",
                             marks))
    write(root, Manifest(tuple(entries), config="none"))
