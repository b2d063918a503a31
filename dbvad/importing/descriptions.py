"""Other people's descriptions as describe and embed shards: texts, vectors, or both; of training videos only."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from dbvad.importing import BadInput, ImportFault
from dbvad.importing.lists import told_as_fault
from dbvad.importing.shards import make_basis, publish, put_aside
from dbvad.progress import Update
from pipeline.contracts import DESCRIBE, EMBED, embedding_array
from pipeline.engine.fingerprint import fingerprint
from pipeline.engine.store import Store
from pipeline.instruments.clip import ClipError
from pipeline.lists.names import AmbiguousName, Names
from pipeline.lists.table import read_table
from pipeline.lists.text import read_text
from pipeline.manifest import Entry, NoManifest, current, read

T = TypeVar("T")
Facts = dict[str, str]
SAY_AGAIN = "correct it in the file and import it again"


@dataclass(frozen=True)
class Encoder:
    """Turns a text into a vector and the number of pieces it was read in, or raises ClipError.

    `identity`: what the vectors depend on.
    """

    name: str
    identity: dict[str, Any]
    encode: Callable[[str], tuple[np.ndarray, int]]


@dataclass
class Report:
    """`refused`: test videos; `unknown`: names of no video here; `kept`: videos with a description of an earlier import
    and none in this one; `without`: training videos that have none. `problems`: (video, kind, reason, remedy).
    """

    imported: int = 0
    current: int = 0
    width: int = 0
    refused: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    problems: list[tuple[str, str, str, str]] = field(default_factory=list)


def read_texts(path: Path) -> dict[str, str]:
    """Descriptions by video name: JSON {video: text}, or a CSV with the columns video,text. Raises ImportFault."""
    if path.suffix.lower() in (".csv", ".tsv"):
        found: dict[str, str] = {}
        with told_as_fault():
            rows = read_table(path, ("video", "text")).rows
        for row in rows:
            if row["video"] in found:
                raise ImportFault(f"{row.where}: {row['video']!r} is described twice: keep one line, with both texts "
                                  f"in it")
            found[row["video"]] = row["text"]
        return found
    try:
        with told_as_fault():
            content = json.loads(read_text(path, "descriptions from"))
    except json.JSONDecodeError as error:
        raise ImportFault(f"cannot read descriptions from {path}: {error}. Needed is JSON {{video: text}} or a .csv "
                          f"with the columns video,text") from None
    if not isinstance(content, dict):
        raise ImportFault(f"{path}: expected JSON {{video: text}}, found a {type(content).__name__}")
    for name, text in content.items():
        if not isinstance(text, str):
            raise ImportFault(f"{path}: the description of {name!r} is a {type(text).__name__}, expected a text")
    return content


def read_vectors(path: Path) -> dict[str, np.ndarray]:
    """Vectors (D',) by video name from an .npz with `videos` (N,) and `embeddings` (N, D'). Raises ImportFault."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names, vectors = file["videos"], file["embeddings"]
    except (OSError, EOFError, KeyError, ValueError, TypeError) as error:
        raise ImportFault(f"cannot read embeddings from {path}: {error}. Needed is an .npz with `videos` (N names) and "
                          f"`embeddings` (N, D)") from None
    if names.dtype.kind != "U" or vectors.dtype.kind != "f" or vectors.ndim != 2 or names.shape != vectors.shape[:1]:
        raise ImportFault(f"{path}: `videos` is {names.dtype} {names.shape}, `embeddings` {vectors.dtype} "
                          f"{vectors.shape}; needed are N texts and (N, D) floating numbers")
    found = dict(zip(names.tolist(), vectors.astype(np.float32), strict=True))
    if len(found) < len(names):
        raise ImportFault(f"{path}: {len(names) - len(found)} of its names come twice: keep one vector a video")
    return found


def import_descriptions(store: Store, texts: Mapping[str, str], vectors: Mapping[str, np.ndarray],
                        encoder: Encoder | None, *, source: str, update: Update) -> Report:
    """Publish what `texts` and `vectors` say of training videos; a text without a vector goes through `encoder`.

    `source`: the file's name, for the footers. Raises ImportFault.
    """
    entries, of = _entries(store)
    splits = {entry.video_id: entry.split for entry in entries}
    report = Report()
    texts_by_id = _by_video(texts, splits, report)
    vectors_by_id = _by_video(vectors, splits, report)
    if texts and encoder is None:
        lacking = sorted(set(texts_by_id) - set(vectors_by_id))
        if lacking:
            raise ImportFault(f"{len(lacking)} described videos have no embedding ({lacking[0]}): add them to the "
                              f"embeddings, or name a CLIP that embeds the texts by --clip")
    work = sorted(set(texts_by_id) | set(vectors_by_id))
    if not work:
        raise ImportFault(f"no description of a training video in here: {len(report.unknown)} names are of no video in "
                          f"{store}, {len(report.refused)} are of test videos")
    for count, video_id in enumerate(work, start=1):
        stage = "describe"
        try:
            new, upstream = False, dict[str, str]()
            if (text := texts_by_id.get(video_id)) is not None:
                new, upstream = _publish_text(store, video_id, text, of(video_id), source)
            stage = "embed"
            if (vector := vectors_by_id.get(video_id)) is not None:
                new |= _publish_vector(store, video_id, vector, of(video_id), upstream, source)
            elif encoder is not None and text is not None:
                new |= _publish_encoded(store, video_id, text, of(video_id), upstream, encoder)
        except BadInput as problem:
            put_aside(store, stage, video_id, problem, make_basis(EMBED, params={}, facts={}, upstream={}))
            report.problems.append((video_id, problem.kind, problem.reason, problem.remedy))
        else:
            report.imported += new
            report.current += not new
        update(count, "")
    trained = {video_id for video_id, split in splits.items() if split == "train"} - set(work)
    known = {entry.video_id: entry for entry in entries}
    report.kept = sorted(video_id for video_id in trained if current(store, known[video_id], "embed"))
    report.without = sorted(trained - set(report.kept))
    report.refused, report.unknown = sorted(set(report.refused)), sorted(set(report.unknown))
    return report


def _entries(store: Store) -> tuple[Sequence[Entry], Callable[[str], Facts]]:
    """The videos of the dataset, and of each the content that a description holds for.

    Features of other making are features of the same video, but another file by the same name is another video.
    """
    try:
        manifest = read(store.root)
    except NoManifest as error:
        raise ImportFault(f"no videos in {store}: import their features first (dbvad import features), or name "
                          f"another folder by --artifacts ({error})") from None
    contents = {entry.video_id: entry.source_hash for entry in manifest.entries}
    return manifest.entries, lambda video_id: {"source": contents[video_id]} if manifest.made_by == "pipeline" else {}


def _by_video(named: Mapping[str, T], splits: Mapping[str, str], report: Report) -> dict[str, T]:
    names = Names(splits)
    found: dict[str, T] = {}
    for name, value in named.items():
        try:
            video_id = names.find(name)
        except AmbiguousName as error:
            raise ImportFault(str(error)) from None
        if video_id is None:
            report.unknown.append(name)
        elif splits[video_id] != "train":
            report.refused.append(video_id)
        elif video_id in found:
            raise ImportFault(f"{name!r} and another name in the same file both mean {video_id!r}: keep one")
        else:
            found[video_id] = value
    return found


def _publish_text(store: Store, video_id: str, text: str, of: Facts, source: str) -> tuple[bool, dict[str, str]]:
    """Whether the shard had to be made, and its fingerprint as upstream of embed."""
    if not text.strip():
        raise BadInput("empty", "its description is empty", SAY_AGAIN)
    row = {"video_id": video_id, "text": text.strip(), "model": "import", "revision": "", "prompt_id": "import",
           "finish_reason": "stop", "prompt_tokens": 0, "output_tokens": 0, "latency_ms": 0.0, "flags": []}
    basis = make_basis(DESCRIBE, params={}, facts={"text": text.strip(), **of}, upstream={})
    new = publish(store, DESCRIBE, video_id, pa.Table.from_pylist([row], schema=DESCRIBE.schema), basis,
                  {"file": source})
    store.release("describe", video_id)
    return new, {"describe": fingerprint(basis)}


def _publish_vector(store: Store, video_id: str, vector: np.ndarray, of: Facts, upstream: dict[str, str],
                    source: str) -> bool:
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or norm == 0:
        raise BadInput("not_finite" if norm else "zeros", f"its embedding has length {norm}", SAY_AGAIN)
    content = hashlib.sha256(np.ascontiguousarray(vector, np.float32).tobytes()).hexdigest()[:32]
    basis = make_basis(EMBED, params={"model": {"name": "import"}}, facts={"vector": content, **of}, upstream=upstream)
    return _publish_embedding(store, video_id, vector, 1, basis, {"file": source, "published_norm": round(norm, 4)})


def _publish_encoded(store: Store, video_id: str, text: str, of: Facts, upstream: dict[str, str],
                     encoder: Encoder) -> bool:
    basis = make_basis(EMBED, params=encoder.identity, facts=of, upstream=upstream)
    if store.is_whole("embed", video_id, fingerprint(basis)):
        return False
    try:
        vector, pieces = encoder.encode(text)
    except ClipError as error:
        raise BadInput("text", str(error), SAY_AGAIN) from error
    return _publish_embedding(store, video_id, vector, pieces, basis, {"model": encoder.name})


def _publish_embedding(store: Store, video_id: str, vector: np.ndarray, pieces: int, basis: dict[str, Any],
                       meta: dict[str, Any]) -> bool:
    table = pa.Table.from_arrays([pa.array([video_id]), embedding_array(vector[None]), pa.array([pieces], pa.int32())],
                                 names=EMBED.schema.names)
    new = publish(store, EMBED, video_id, table, basis, meta | {"dim": len(vector)})
    store.release("embed", video_id)
    return new
