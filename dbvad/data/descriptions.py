"""The training videos' descriptions: read from the artifacts, and dealt out anew by the ablations of what they say."""

from collections import Counter
from collections.abc import Iterable, Sequence
from shlex import quote
from typing import Literal

import numpy as np

from dbvad.data.shards import RUN_PIPELINE, DataError, current, manifest_of
from pipeline.contracts import embeddings
from pipeline.engine.store import Store
from pipeline.manifest import set_aside
from pipeline.words import few

Texts = Literal["own", "shuffled", "shuffled_in_class", "label_only", "none"]
RUN_EMBED = "run `dbvad pipeline run embed`"


def read_descriptions(store: Store, video_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Embeddings (V, D'), which videos have one (V,), and the fingerprints of their shards ("" for none).

    Raises DataError.
    """
    found: dict[int, np.ndarray] = {}
    marks = []
    entries = {entry.video_id: entry for entry in manifest_of(store).of("train")}
    for place, video_id in enumerate(store.ahead("embed", video_ids)):
        entry = entries[video_id]
        footer = None if set_aside(store, entry, "embed") else current(store, "embed", entry)
        has = footer is not None and footer.rows > 0
        marks.append(footer.fingerprint if footer is not None and has else "")
        if has:
            found[place] = embeddings(store.read("embed", video_id, ["embedding"])["embedding"])[0]
    if not found:
        raise DataError(f"none of the {len(video_ids)} training videos has a description: {RUN_PIPELINE}, import "
                        f"some by `dbvad import descriptions`, or train without them: --set dbm=false")
    widths = Counter(len(vector) for vector in found.values())
    if len(widths) > 1:
        raise DataError(f"descriptions were embedded in {len(widths)} widths ({few(list(map(str, widths)))}): "
                        f"{RUN_EMBED}, or import all of them, to make them alike")
    bad = [video_ids[place] for place, vector in found.items() if not np.isfinite(vector).all()]
    if bad:
        raise DataError(f"descriptions of {len(bad)} videos hold NaN or infinity ({few(bad)}): "
                        f"dbvad pipeline run embed --force --video {quote(bad[0])}")
    texts = np.zeros((len(video_ids), next(iter(widths))), dtype=np.float32)
    texts[list(found)] = list(found.values())
    return texts, np.isin(np.arange(len(video_ids)), list(found)), marks


def no_descriptions(video_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """What `read_descriptions` gives where none are wanted: of width 0."""
    return np.zeros((len(video_ids), 0), np.float32), np.zeros(len(video_ids), bool), []


def doubtful(store: Store, video_ids: Iterable[str]) -> list[str]:
    """Videos whose description has a flag but for that of a second try, or was not finished."""
    found = []
    for video_id in store.ahead("describe", video_ids):
        if store.place.exists(store.path("describe", video_id)):  # vectors may be imported without their texts
            rows = store.read("describe", video_id, ["flags", "finish_reason"]).to_pylist()
            if any(row["finish_reason"] != "stop" or {*row["flags"]} - {"asked_twice"} for row in rows):
                found.append(video_id)
    return found


def deal(how: Texts, texts: np.ndarray, labels: np.ndarray, videos: np.ndarray, seed: int,
         ) -> tuple[np.ndarray, np.ndarray]:
    """The texts (V, D') that the described `videos` (indices) are taught, and those of them that found no other's.

    `shuffled`: each has another one's. `shuffled_in_class`: of a video with the same row of `labels` (V, C), so that
    what the label says stays; a video alone with its labels keeps its own. `label_only`: the mean of the texts of its
    labels, which says no more than they do. Each text is one of `videos`, so those held out teach nothing and keep
    theirs.
    """
    taught, alone = texts.copy(), list[int]()
    if how in ("own", "none") or not len(videos):
        return taught, np.array([], int)
    if how == "shuffled":
        groups = [videos]
    else:
        _, kinds = np.unique(labels[videos], axis=0, return_inverse=True)
        groups = [videos[kinds == kind] for kind in range(kinds.max() + 1)]
    rng = np.random.default_rng([seed, 1])
    for group in groups:
        if how == "label_only":
            taught[group] = texts[group].mean(axis=0)
        else:
            owners = rng.permutation(group)
            taught[owners] = texts[np.roll(owners, 1)]
            alone += owners.tolist() if len(owners) == 1 else []
    return taught, np.array(sorted(alone), int)
