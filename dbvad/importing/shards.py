"""Publishing what is imported, and what becomes of a video that cannot be used."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from dbvad.importing import BadInput
from pipeline.contracts import Contract
from pipeline.engine.fingerprint import fingerprint
from pipeline.engine.store import Store
from pipeline.manifest import FILE, Entry, Manifest, NoManifest, read, write

VERSION = 1  # raised when the same input would give other rows


def make_basis(contract: Contract, *, params: dict[str, Any], facts: dict[str, Any], upstream: dict[str, str],
               ) -> dict[str, Any]:
    """What an imported shard depends on, in the form that the pipeline's stages use."""
    return {"stage": contract.artifact, "version": f"import-{VERSION}", "contract": contract.version,
            "params": params, "facts": facts, "upstream": upstream}


def publish(store: Store, contract: Contract, video_id: str, rows: pa.Table | Iterable[pa.Table],
            basis: dict[str, Any], meta: dict[str, Any] | None = None) -> bool:
    """Publish a shard unless it is there already; returns whether it had to be made."""
    mark = fingerprint(basis)
    if store.is_whole(contract.artifact, video_id, mark):
        return False
    store.publish(contract, video_id, rows, fingerprint=mark, basis=basis, meta=meta)
    return True


def put_aside(store: Store, stage: str, video_id: str, problem: BadInput, basis: dict[str, Any]) -> str:
    """Quarantine a video, and take away what an earlier import made of it: it is not what its files hold now.

    Returns the fingerprint that its row has.
    """
    mark = fingerprint(basis)
    store.place.remove(store.path(stage, video_id))
    store.quarantine(stage, video_id, fingerprint=mark, kind=problem.kind, reason=problem.reason, remedy=problem.remedy)
    return mark


def list_videos(store: Store, entries: Iterable[Entry], *, add: bool) -> list[str]:
    """Write down that these are the videos there are; `add`: beside those of before. Returns who is left out now."""
    ours = {entry.video_id: entry for entry in entries}
    try:
        before = [entry for entry in read(store.root).entries if entry.video_id not in ours]
    except NoManifest:
        if add and store.place.exists(store.root / FILE):
            raise  # whose videos it names is not known any more
        before = []
    write(store.root, Manifest((*ours.values(), *(before if add else ())), "import"))
    return [] if add else [entry.video_id for entry in before]
