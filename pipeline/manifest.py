"""Which videos there are: today's dataset, as the run or the import that last looked at it wrote it down.

One file beside the shards, `manifest.parquet`, a row a video. Whoever reads artifacts asks here, so that training,
evaluation, reports and SQL agree: a shard of a video that is no longer in the dataset, or one that was made under
another fingerprint than the planned one, is left over and is used by nobody. The shards stay where they are until
`dbvad artifacts gc`, so a video that comes back costs nothing.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.contracts import STAGES
from pipeline.engine.place import place_of
from pipeline.engine.sealed import seal
from pipeline.engine.shard import Footer, file_name, open_sealed
from pipeline.engine.store import Store
from pipeline.lists.remarks import Remark, remarks_on
from pipeline.words import few

FILE = "manifest.parquet"
FACTS = {"video_id": pa.string(), "split": pa.string(), "labels": pa.list_(pa.string()), "source_hash": pa.string(),
         "size": pa.int64(), "problem": pa.string()}  # the columns; beside them one a stage
ABOUT = b"dbvad"
ROWS = 20_000  # videos in memory at a time where a manifest is written
TEXTS = ("describe", "embed")  # what people import beside features of the pipeline's own


DETECT_AGAIN = "delete this file, then run the same `dbvad detect` with --retry-failed"


class NoManifest(ValueError):
    """The artifacts do not say which videos there are; the message says what to run."""


@dataclass(frozen=True)
class Entry:
    """One video of the dataset.

    `source_hash`: of its content, "" where unknown. `problem`: why it cannot be used at all, "" if nothing is known.
    `fingerprints`: by stage, the one that its shard must have.
    """

    video_id: str
    split: str
    labels: tuple[str, ...]
    source_hash: str
    size: int
    problem: str
    fingerprints: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """`config`: the stages file of the pipeline's dataset, relative to the artifacts folder; "" for others.

    `detect`: recordings that were searched for events; nothing is trained or tested on them.
    """

    entries: tuple[Entry, ...]
    made_by: Literal["pipeline", "import", "detect"] = "pipeline"
    config: str = ""

    def of(self, split: str) -> list[Entry]:
        """The videos of a split, in order."""
        return [entry for entry in self.entries if entry.split == split]


@dataclass(frozen=True)
class Copies:
    """Videos with one content. `event`: whether it is called abnormal."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    event: bool = False

    @property
    def leak(self) -> bool:
        """Whether what is tested on was trained on."""
        return bool(self.train and self.test)


def write(root: Path, manifest: Manifest) -> None:
    """Write the manifest whole or not at all."""
    stages = list(dict.fromkeys(stage for entry in manifest.entries for stage in entry.fingerprints))
    entries = sorted(manifest.entries, key=lambda entry: entry.video_id)
    columns = [*([getattr(entry, name) for entry in entries] for name in FACTS),
               *([entry.fingerprints.get(stage, "") for entry in entries] for stage in stages)]
    write_columns(root, [columns], stages, manifest.made_by, manifest.config)


def write_columns(root: Path, parts: Iterable[Sequence[Any]], stages: Sequence[str], made_by: str, config: str = "",
                  ) -> None:
    """As `write`, of columns that come part by part, in the order of the ids: those of FACTS, then a fingerprint a
    stage."""
    others = [stage for stage in STAGES if stage not in stages]
    order = [*FACTS, *stages, *others]
    schema = pa.schema([pa.field(name, FACTS.get(name, pa.string()), nullable=False)
                        for name in dict.fromkeys([*FACTS, *STAGES, *stages])],
                       {ABOUT: json.dumps({"made_by": made_by, "config": config})})
    with place_of(root).replacing(root / FILE) as temporary:
        with pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=["split", "problem", *others],
                              write_statistics=False) as writer:
            for columns in parts:
                columns = [*columns, *([""] * len(columns[0]) for _ in others)]
                found = dict(zip(order, columns, strict=True))
                writer.write_table(pa.table([found[name] for name in schema.names], schema=schema))
        seal(temporary)


def read(root: Path) -> Manifest:
    """The manifest of the artifacts in `root`. Raises NoManifest."""
    place = place_of(root)
    try:
        with open_sealed(place.fetch(root / FILE)) as file:
            table, about = file.read(), json.loads(file.schema_arrow.metadata[ABOUT])
        stages = [name for name in table.column_names if name not in FACTS]
        facts, prints = ([table[name].to_pylist() for name in names] for names in (FACTS, stages))
        entries = tuple(
            Entry(video_id, split, tuple(labels), source_hash, size, problem,
                  {stage: mark for stage, mark in zip(stages, marks, strict=True) if mark})
            for video_id, split, labels, source_hash, size, problem, *marks in zip(*facts, *prints, strict=True))
        return Manifest(entries, about["made_by"], about["config"])
    except FileNotFoundError:
        raise NoManifest(f"no list of videos ({FILE}) in {place}: run `dbvad pipeline run`, or the import, that writes "
                         f"it; or name another folder by --artifacts") from None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise NoManifest(f"{place.shown(root / FILE)} cannot be read ({error}): `dbvad pipeline run`, or the "
                         f"same import again, writes it anew") from None


def store_of(root: Path, manifest: Manifest | None = None) -> Store:
    """The artifacts in `root`, with the remedy that makes a damaged shard again there."""
    try:
        made_by = (manifest or read(root)).made_by
    except NoManifest:
        made_by = "pipeline"
    return Store(root, DETECT_AGAIN) if made_by == "detect" else Store(root)


def holds(entry: Entry, stage: str, footer: Footer) -> bool:
    """Whether a shard is today's: made under the planned fingerprint, or a text imported for this content."""
    if footer.fingerprint == entry.fingerprints.get(stage):
        return True
    imported = str(footer.basis.get("version", "")).startswith("import")
    return stage in TEXTS and imported and footer.basis.get("facts", {}).get("source", "") in ("", entry.source_hash)


def current(store: Store, entry: Entry, stage: str) -> bool:
    """Whether a video has today's shard of a stage, and nothing keeps it from being used. Raises Damaged."""
    return not set_aside(store, entry, stage) and _is_made(store, entry, stage)


def _is_made(store: Store, entry: Entry, stage: str) -> bool:
    mark = entry.fingerprints.get(stage)
    if mark and store.is_current(stage, entry.video_id, mark):
        return True
    footer = store.whole_footer(stage, entry.video_id)
    return footer is not None and holds(entry, stage, footer)


class Today:
    """`current` and `set_aside`, asked of many videos: the quarantine is listed once, and looked into where it has one.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.listed = store, {str(path) for path in store.shards("quarantine")}

    def current(self, entry: Entry, stage: str) -> bool:
        """Raises Damaged."""
        return not self.set_aside(entry, stage) and _is_made(self.store, entry, stage)

    def set_aside(self, entry: Entry, last: str) -> str:
        """Raises Damaged."""
        return set_aside(self.store, entry, last, self.listed)


def quarantine(store: Store, entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """The rows of today's quarantine: of videos in the dataset, under the planned fingerprint."""
    known = {entry.video_id: entry for entry in entries}
    return [row for row in store.quarantine_rows()
            if row["video_id"] in known
            and row["fingerprint"] == known[row["video_id"]].fingerprints.get(row["stage"], "")]


def set_aside(store: Store, entry: Entry, last: str, listed: Collection[str] | None = None) -> str:
    """Why a video is in quarantine now, at stage `last` or at one before it; "" if it is not.

    What was made of it there or below, when it was not, may still be up to date: nobody uses it. `listed`: the paths of
    all records there are, else each is looked for. Raises Damaged.
    """
    if entry.problem or (listed is not None and not listed):
        return entry.problem
    order = list(dict.fromkeys([*STAGES, *entry.fingerprints, last]))  # others' stages come behind the pipeline's
    for stage in order[:order.index(last) + 1]:
        if listed is not None and str(store.quarantine_path(stage, entry.video_id)) not in listed:
            continue
        row = store.quarantined(stage, entry.video_id)
        if row and row["fingerprint"] == entry.fingerprints.get(stage, ""):
            return f"{row['kind']}: {row['reason']}"
    return ""


def left_over(store: Store, ids: Collection[str], stages: Iterable[str] = (*STAGES, "quarantine"),
              ) -> dict[str, list[Path]]:
    """Shards (and quarantine rows, under "quarantine") of videos other than `ids`, by stage."""
    kept = {f"{file_name(video_id)}.parquet" for video_id in ids}
    found = {}
    for stage in stages:
        names = (name for name in store.place.names(stage) if name.endswith(".parquet"))
        if stage == "quarantine":
            gone = [name for name in names if name.partition("/")[2] not in kept]  # below the name of its stage
        else:
            gone = [name for name in names if name not in kept]
        if gone:
            found[stage] = [store.root / stage / name for name in sorted(gone)]
    return found


def copies(videos: Iterable[tuple[str, str, str, bool]]) -> list[Copies]:
    """Videos of the splits that are one another's copies, from (video_id, split, content hash, event); leaks first."""
    same: dict[str, list[tuple[str, str, bool]]] = defaultdict(list)
    for video_id, split, content, event in videos:
        if content and split in ("train", "test"):
            same[content].append((split, video_id, event))
    found = [Copies(tuple(sorted(name for split, name, _ in group if split == "train")),
                    tuple(sorted(name for split, name, _ in group if split == "test")),
                    any(event for _, _, event in group))
             for group in same.values() if len(group) > 1]
    return sorted(found, key=lambda group: (not group.leak, group.train, group.test))


def copies_of(entries: Iterable[Entry]) -> list[Copies]:
    """As `copies`, of those that can be used."""
    return copies((entry.video_id, entry.split, entry.source_hash, bool(entry.labels))
                  for entry in entries if not entry.problem)


def remarks_on_leaks(groups: Sequence[Copies]) -> list[Remark]:
    """What to say of videos in both splits."""
    leaks = [f"{group.test[0]} = {group.train[0]}" for group in groups if group.leak]
    return remarks_on(("leak", "leak: test videos with the content of a training video, to be taken out of one split",
                       leaks))


def remarks_on_copies(groups: Sequence[Copies]) -> list[Remark]:
    """What to say of copies: of those in both splits, and of those within one."""
    alike = [few(names, between=" = ") for group in groups for names in (group.train, group.test) if len(names) > 1]
    return remarks_on_leaks(groups) + remarks_on(
        ("copies", "videos in several copies, of which each counts as a video", alike))
