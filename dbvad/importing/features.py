"""Published features as ingest and score shards: streamed, resumable, a bad file costs its video only."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from dbvad.importing import BadInput, ImportFault
from dbvad.importing.arrays import AGAIN, Norms, snippets
from dbvad.importing.shards import list_videos, make_basis, publish, put_aside
from dbvad.importing.sources import Matched, Source
from dbvad.progress import Update
from pipeline.contracts import INGEST, SCORE, ContractError, embedding_array
from pipeline.engine.files import Damaged
from pipeline.engine.fingerprint import fingerprint
from pipeline.engine.store import Store
from pipeline.lists.names import AmbiguousName, Names
from pipeline.lists.remarks import Remark, remarks_on
from pipeline.manifest import Entry, copies_of, remarks_on_copies

Hash = Callable[[Path], str]  # of a file's content


@dataclass(frozen=True)
class Rules:
    """How files are read.

    `snippet`: source frames a snippet spans. `per_frame`: a row is a frame, and `snippet` of them are averaged.
    `fps`: of the videos, 0 where unknown. `model`: what made the features, for the record. `tolerance`: by how many
    snippets a length may differ from the frame count.
    """

    per_frame: bool = False
    snippet: int = 16
    fps: float = 0.0
    model: str = "unknown"
    tolerance: int = 1


@dataclass(frozen=True)
class Length:
    """How long a video is: `frames` of it, and `snippets` to keep. `note`: what does not fit exactly, or ""."""

    frames: int
    snippets: int
    note: str = ""


@dataclass
class Report:
    """What an import came to. `problems`: (video, kind, reason, remedy); `notes`: (video, what is odd about it).

    `remarks`: what the lists name and the folder lacks, copies, and the like. `left_out`: videos of earlier imports
    that are not in this one.
    """

    videos: int = 0
    imported: int = 0
    current: int = 0
    bytes: int = 0
    problems: list[tuple[str, str, str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    norms: Norms = field(default_factory=Norms)
    left_out: list[str] = field(default_factory=list)

    def aside(self, video_id: str, problem: BadInput) -> None:
        self.problems.append((video_id, problem.kind, problem.reason, problem.remedy))


def import_features(matched: Matched, store: Store, rules: Rules, *, counts: Mapping[str, int] | None, hash_of: Hash,
                    workers: int, update: Update, add: bool = False) -> Report:
    """Publish the shards of `matched.sources`, which have been inspected.

    The list of videos is written before the shards and completed after them, so that an import cut short is found out
    by training. `counts`: frames by the name that a list uses. `update` is told the bytes done. `add`: the videos of
    earlier imports stay in the dataset. Raises ImportFault, OSError when the disk is full.
    """
    report = Report(videos=len(matched.sources) + len(matched.missing))
    entries: dict[str, Entry] = {}
    for name, fault in matched.missing:
        store.quarantine("score", name, fingerprint="", kind=fault.kind, reason=fault.reason, remedy=fault.remedy)
        entries[name] = Entry(name, "", (), "", 0, f"{fault.kind}: {fault.reason}", {})
        report.aside(name, fault)
    for source in matched.sources:
        _release_missing(store, source.video_id)
    frames = _by_video(counts, matched.sources, report) if counts is not None else {}
    work: list[tuple[Source, Length]] = []
    bad: list[tuple[Source, BadInput]] = []
    for source in matched.sources:
        try:
            if source.problem:
                raise source.problem
            work.append((source, measure(source.shape[0], frames.get(source.video_id), rules)))
        except BadInput as problem:
            bad.append((source, problem))
    for source, length in work:
        if length.note:
            report.notes.append((source.video_id, length.note))
        elif counts is not None and source.video_id not in frames:
            report.notes.append((source.video_id, "no frame count: its length was taken from its features"))
    pool = ThreadPoolExecutor(workers)
    try:
        all_frames = [(source, length.frames) for source, length in work]
        all_frames += [(source, frames.get(source.video_id, 0)) for source, _ in bad]
        marks = pool.map(lambda known: _publish_ingest(store, known[0], known[1], rules), all_frames)
        for (source, _), mark in zip(all_frames, marks, strict=True):
            entries[source.video_id] = Entry(source.video_id, source.split, source.labels, "", 0, "", {"ingest": mark})
        for source, fault in bad:
            unread = make_basis(SCORE, params={}, facts={}, upstream={})
            mark = put_aside(store, "score", source.video_id, fault, unread)
            entries[source.video_id] = _known(entries[source.video_id], mark, problem=fault)
            report.aside(source.video_id, fault)
        report.left_out = list_videos(store, entries.values(), add=add)
        _publish_scores(pool, work, store, rules, report, entries, hash_of, update)
        list_videos(store, entries.values(), add=True)
        report.remarks += remarks_on_copies(copies_of(entries.values()))
    finally:
        pool.shutdown(cancel_futures=True)
    return report


def measure(rows: int, frames: int | None, rules: Rules) -> Length:
    """The length of a video by its rows and its frame count. Raises BadInput where they cannot be of one video.

    Decoders differ by a frame or more, and some extractors drop the last snippet or add one: up to `tolerance` snippets
    are let through, with a note. The frame count then holds, and snippets that begin after its end are left out.
    """
    unit = 1 if rules.per_frame else rules.snippet
    covered = rows * unit
    if frames is None:
        return Length(covered, -(-covered // rules.snippet))
    whole = -(-frames // rules.snippet)
    if abs(covered - frames) > rules.tolerance * rules.snippet:
        raise BadInput("length", f"{rows} rows cover {covered} frames, the video has {frames}",
                       "check that features and frame count are of the same video; --per-frame if a row is a frame; "
                       "without --frames lengths are taken from the features")
    kept = min(whole, -(-covered // rules.snippet))
    if covered == frames if rules.per_frame else rows in (frames // rules.snippet, whole):
        return Length(frames, kept)
    left_out = -(-covered // rules.snippet) - kept
    return Length(frames, kept, f"{rows} rows cover {covered} frames, counted are {frames}"
                  + (f"; {left_out} snippet after the end left out" if left_out else ""))


def _by_video(counts: Mapping[str, int], sources: list[Source], report: Report) -> dict[str, int]:
    names = Names(source.video_id for source in sources)
    found: dict[str, int] = {}
    unknown = []
    for name, frames in counts.items():
        try:
            video_id = names.find(name)
        except AmbiguousName as error:
            raise ImportFault(f"frame counts: {error}") from None
        if video_id is None:
            unknown.append(name)
        else:
            found[video_id] = frames
    if not found:
        raise ImportFault(f"the frame counts name none of the {len(sources)} videos: they have {next(iter(counts))!r}, "
                          f"the features {sources[0].video_id!r}")
    report.remarks += remarks_on(("not_here", "frame counts of no video here", unknown))
    return found


def _known(entry: Entry, mark: str, content: str = "", problem: BadInput | None = None) -> Entry:
    """The entry once the fingerprint of its score shard, or of its row in quarantine, is known."""
    return replace(entry, source_hash=content, problem=f"{problem.kind}: {problem}" if problem else "",
                   fingerprints={**entry.fingerprints, "score": mark})


def _publish_ingest(store: Store, source: Source, frames: int, rules: Rules) -> str:
    """There is no video here, so what only a video could tell is empty or 0. Returns the fingerprint."""
    duration = frames / rules.fps if rules.fps else 0.0
    row = {"video_id": source.video_id, "path": source.video_id, "split": source.split, "labels": list(source.labels),
           "source_hash": "", "size": 0, "duration_s": duration, "fps": rules.fps, "n_frames": frames, "width": 0,
           "height": 0, "codec": "features"}
    basis = make_basis(INGEST, params={}, upstream={}, facts={name: row[name] for name in
                                                              ("split", "labels", "fps", "n_frames")})
    publish(store, INGEST, source.video_id, pa.Table.from_pylist([row], schema=INGEST.schema), basis,
            {"feature_source": "import"})
    return fingerprint(basis)


def _publish_scores(pool: ThreadPoolExecutor, work: list[tuple[Source, Length]], store: Store, rules: Rules,
                    report: Report, entries: dict[str, Entry], hash_of: Hash, update: Update) -> None:
    running = {pool.submit(_publish_score, source, length, store, rules, hash_of): source for source, length in work}
    for count, future in enumerate(as_completed(running), start=1):
        source = running[future]
        content, mark, norms, problem = future.result()
        entries[source.video_id] = _known(entries[source.video_id], mark, content, problem)
        if problem:
            report.aside(source.video_id, problem)
        else:
            report.imported += norms.high > 0
            report.current += norms.high == 0
            report.norms.add(norms)
        report.bytes += source.size
        update(report.bytes, f"{count} of {len(work)} videos")


def _publish_score(source: Source, length: Length, store: Store, rules: Rules, hash_of: Hash,
                   ) -> tuple[str, str, Norms, BadInput | None]:
    """Publish one score shard unless it is there; a video that cannot be used is put aside.

    Returns the hash of the files' contents, the fingerprint, the norms, and what is wrong.
    """
    params = {"model": {"name": rules.model}, "layout": source.layout, "snippet": rules.snippet,
              "per_frame": rules.per_frame, "crops": list(source.crops)}
    facts = {"frames": length.frames, "snippets": length.snippets}
    basis = make_basis(SCORE, params=params, facts=facts, upstream={})
    norms = Norms()
    try:
        basis["upstream"] = {"source": _content(source, hash_of)}
        _, crops, width = source.shape
        meta: dict[str, Any] = {
            "feature_source": "import", "model": rules.model, "n_frames": length.frames,
            "snippet_frames": rules.snippet, "averaged_rows": rules.snippet if rules.per_frame else 1, "crops": crops,
            "dim": width, "crop_numbers": source.crops, "published_dtype": str(source.headers[0].dtype)}
        publish(store, SCORE, source.video_id, _tables(source, length, rules, norms, meta), basis, meta)
        store.release("score", source.video_id)
        return basis["upstream"]["source"], fingerprint(basis), norms, None
    except ContractError as error:
        problem = BadInput("contract", str(error), AGAIN)
    except OSError as error:
        if error.filename not in [path for header in source.headers for path in (header.path, str(header.path))]:
            raise  # not theirs: the artifacts cannot be written
        problem = BadInput("unreadable", f"{error.filename} cannot be read: {error.strerror}", AGAIN)
    except BadInput as error:
        problem = error
    return "", put_aside(store, "score", source.video_id, problem, basis), norms, problem


def _tables(source: Source, length: Length, rules: Rules, norms: Norms, meta: dict[str, Any]) -> Iterator[pa.Table]:
    """Score rows, part by part. Relevance and novelty are 0: there are no frames to select from."""
    first = 0
    for part in snippets(source.headers, source.layout, per=rules.snippet if rules.per_frame else 1, norms=norms,
                         stop=length.snippets):
        count, crops, width = part.shape
        rows = count * crops
        zeros = pa.array(np.zeros(rows, np.float32))
        starts = np.repeat(np.arange(first, first + count, dtype=np.int64) * rules.snippet, crops)
        yield pa.Table.from_arrays([
            pa.array([source.video_id] * rows, pa.string()), pa.array(starts),
            pa.array(np.tile(np.arange(crops, dtype=np.int8), count)), embedding_array(part.reshape(rows, width)),
            zeros, zeros], names=SCORE.schema.names)
        first += count
    meta["published_norms"] = {"low": round(norms.low, 4), "high": round(norms.high, 4), "now": 1}


def _content(source: Source, hash_of: Hash) -> str:
    """Hash of the files' contents, in order of crops."""
    hashes = [hash_of(header.path) for header in source.headers]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:32]


def _release_missing(store: Store, video_id: str) -> None:
    """A file that lacked, and was put aside by its bare name for want of an id, is there now."""
    name = PurePosixPath(video_id).name
    with suppress(Damaged):  # then nobody knows what it was, and it is of no video
        row = store.quarantined("score", name)
        if row is None or row["kind"] != "missing":
            return
    store.release("score", name)


def default_workers() -> int:
    """Threads that pay: compressing and hashing leave the interpreter's lock."""
    return min(4, os.cpu_count() or 1)
