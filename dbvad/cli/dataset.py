"""The dataset of a stages file as the commands see it: its stages and videos, what is odd about it, what changed."""

import fnmatch
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dbvad.cli.places import artifacts_option
from dbvad.cli.say import say as print
from pipeline.engine.printable import printable
from pipeline.words import counted, few

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from rich.console import Console

    from pipeline.engine.plan import Plan, State
    from pipeline.engine.stage import BadVideo, Stage
    from pipeline.lists.remarks import Remark
    from pipeline.manifest import Entry, Manifest
    from pipeline.stages import StagesFile
    from pipeline.stages.dataset import Listing


class StrictError(Exception):
    """A warning was given where --strict allows none."""


class ChangedDataset(Exception):
    """The dataset is not what the artifacts were made from; the message says in what, and what to run."""


def open_dataset(config: Path, artifacts: Path, console: "Console") -> tuple[list["Stage"], "Listing"]:
    """The stages and the videos of a stages file; hashes what is new, with progress."""
    from pipeline import stages
    from pipeline.stages.dataset import summary, told

    parsed = stages.read(config)
    built = stages.build(parsed, artifacts)
    listing = _list(parsed, artifacts, console)
    for line in (summary(listing.sources), told(listing.others), *(f"warning: {text}" for text in warnings(listing))):
        if line:
            console.print(printable(line), highlight=False, markup=False, soft_wrap=True)
    return built, listing


def chosen(ids: Sequence[str], names: Sequence[str] | None) -> Collection[str] | None:
    """Of the ids those of videos that are named, or that match a pattern where no video is called so; None for all.

    Raises a usage error for a name that is of no video.
    """
    if not names:
        return None
    found: set[str] = set()
    for name in names:
        hits = {name} & set(ids) or {video_id for video_id in ids if fnmatch.fnmatchcase(video_id, name)}
        if not hits:
            raise typer.BadParameter(f"no video matches {name}; ids look like {ids[0]!r}")
        found |= hits
    return found


def warnings(listing: "Listing") -> list["Remark"]:
    """What is wrong with the dataset as a whole."""
    from pipeline.manifest import copies, remarks_on_copies

    sources = listing.sources
    several = {digest for digest, count in Counter(sources.hashes).items() if count > 1}
    groups = copies((sources.ids[number], sources.facts[number]["split"], digest, bool(sources.facts[number]["labels"]))
                    for number, digest in enumerate(sources.hashes)
                    if digest in several and number not in sources.problems)
    return [*listing.remarks, *remarks_on_copies(groups)]


def record(config: Path, artifacts: Path, plan: "Plan") -> None:
    """Write down which videos there are, and which fingerprints their shards are to have."""
    from pipeline.manifest import ROWS, write_columns

    def part(start: int) -> list[Any]:
        sources, here = plan.sources, slice(start, start + ROWS)
        problems = [_problem(sources.problems.get(number)) for number in range(len(sources))[here]]
        facts = sources.facts[here]
        return [sources.ids[here], [one["split"] for one in facts], [one["labels"] for one in facts],
                sources.hashes[here], sources.sizes[here], problems,
                *(_as_texts(plan.prints[stage][here]) for stage in plan.stages)]

    parts = map(part, range(0, len(plan.sources), ROWS))
    write_columns(artifacts, parts, list(plan.stages), "pipeline", os.path.relpath(config, artifacts))


def _as_texts(prints: "np.ndarray") -> "pa.Array":
    """Fingerprints, shape (videos, 16), in hex: made as a whole, which takes a fiftieth of the time."""
    import numpy as np
    import pyarrow as pa

    width = 2 * prints.shape[1]
    ends = np.arange(0, width * (len(prints) + 1), width, dtype=np.int32)
    return pa.StringArray.from_buffers(len(prints), pa.py_buffer(ends), pa.py_buffer(prints.tobytes().hex().encode()))


def _problem(fault: "BadVideo | None") -> str:
    return f"{fault.kind}: {fault}" if fault else ""


def check_unchanged(artifacts: Path, config: Path | None = None) -> None:
    """Raise ChangedDataset if the dataset behind the artifacts is not what the last run saw.

    Where it cannot be looked at (features were imported, the videos are on another machine) the last run's word holds;
    the latter is said on standard error. `config`: the stages file, by default the one of the last run.
    """
    from rich.console import Console

    from pipeline import stages
    from pipeline.engine.config import ConfigError
    from pipeline.engine.place import StorageError
    from pipeline.manifest import NoManifest, read

    try:
        manifest = read(artifacts)
    except NoManifest:
        return  # who reads the artifacts will say so
    config = config if config and config.is_file() else artifacts / manifest.config
    if manifest.made_by != "pipeline" or not config.is_file():
        return
    try:
        parsed = stages.read(config)
        videos = parsed.dataset.videos
        if isinstance(videos, Path) and not videos.is_dir():
            raise StorageError(f"no folder {videos}")
        listing = _list(parsed, artifacts, Console(stderr=True))
    except StorageError as error:
        print(f"the videos are not at hand ({error}): the dataset is taken as the last `dbvad pipeline run` saw it",
              file=sys.stderr)
        return
    except ConfigError as error:
        raise ChangedDataset(f"the dataset cannot be read any more: {error}") from error
    changed = _changes(manifest, listing)
    if changed:
        raise ChangedDataset(f"the dataset has changed since the last `dbvad pipeline run`: {changed}. Bring the "
                             f"artifacts up to date: dbvad pipeline run{_options(config, artifacts)}")


def imported(artifacts: Path) -> "Manifest | None":
    """The list of videos of imported artifacts, which no stages file speaks of; None for all others."""
    from pipeline.manifest import NoManifest, read

    try:
        manifest = read(artifacts)
    except NoManifest:
        return None
    return manifest if manifest.made_by == "import" else None


def import_standing(manifest: "Manifest", artifacts: Path, names: Sequence[str] | None,
                    ) -> list[tuple[str, str, "State", str]]:
    """(video, stage, state, reason) of what an import makes; texts are of training videos alone."""
    from pipeline.engine.plan import State
    from pipeline.engine.store import Store
    from pipeline.manifest import current, set_aside

    store, found = Store(artifacts), []
    ids = chosen([entry.video_id for entry in manifest.entries], names)
    for entry in manifest.entries:
        for stage in ("ingest", "score", *(("describe", "embed") if entry.split == "train" else ())):
            if ids is not None and entry.video_id not in ids:
                continue
            if reason := set_aside(store, entry, stage):
                found.append((entry.video_id, stage, State.QUARANTINED, reason))
            elif current(store, entry, stage):
                found.append((entry.video_id, stage, State.DONE, "imported"))
            else:
                found.append((entry.video_id, stage, State.MISSING, "not imported"))
    return found


def tell_left_over(artifacts: Path, stages: Collection[str] | None = None) -> None:
    """Say on standard error what lies in the artifacts (of some stages) and is not in the dataset: no view shows it."""
    from pipeline.engine.store import Store
    from pipeline.manifest import NoManifest, left_over, read

    try:
        known = [entry.video_id for entry in read(artifacts).entries]
    except NoManifest:
        return
    store = Store(artifacts)
    gone = left_over(store, known) if stages is None else left_over(store, known, stages)
    if gone:
        size = sum(store.place.size(path) for paths in gone.values() for path in paths) / 2**20
        print(f"left out: {counted(sum(map(len, gone.values())), 'shard')} of videos that are not in the dataset; "
              f"`dbvad artifacts gc --delete` frees their {size:.1f} MB", file=sys.stderr)


def check_spotless(artifacts: Path) -> None:
    """Raise StrictError if a training video is left out, or is tested on as well. Raises DataError."""
    from dbvad.data.dataset import read_index
    from pipeline.engine.store import Store
    from pipeline.manifest import remarks_on_leaks

    index = read_index(Store(artifacts), "train")
    faults = [*map(str, remarks_on_leaks(index.leaks)),
              *(f"{video_id} is left out: {reason}" for video_id, reason in index.dropped.items())]
    if faults:
        raise StrictError(f"{few(faults, between='; ')}: --strict allows none, nothing was trained")


def print_left_out(dropped: Mapping[str, str], kind: str) -> None:
    """Which videos of the dataset were left out, and why."""
    if dropped:
        told = few([f"{video_id}: {reason}" for video_id, reason in dropped.items()], between="; ")
        print(f"{counted(len(dropped), kind)} left out ({told}): see `dbvad pipeline failures`")



def _changes(manifest: "Manifest", listing: "Listing") -> str:
    then = {entry.video_id: entry for entry in manifest.entries}
    sources = listing.sources
    now = dict.fromkeys(sources.ids)
    kinds = {
        "new": [name for name in now if name not in then],
        "gone": [name for name in then if name not in now],
        "moved to another split or relabelled": [name for name, facts in zip(sources.ids, sources.facts, strict=True)
                                                 if name in then and _facts(then[name]) != (
                                                     facts["split"], tuple(facts["labels"]))],
        "with another content": [name for name, digest in zip(sources.ids, sources.hashes, strict=True)
                                 if name in then and then[name].source_hash != digest],
    }
    return ", ".join(f"{len(names)} {kind} ({few(sorted(names))})" for kind, names in kinds.items() if names)


def _facts(entry: "Entry") -> tuple[str, tuple[str, ...]]:
    return entry.split, entry.labels


def entries_of(plan: "Plan") -> "Iterator[Entry]":
    """The videos of a plan as a manifest keeps them, in order."""
    from pipeline.manifest import Entry

    for number, source in enumerate(plan.sources):
        yield Entry(source.video_id, source.facts["split"], tuple(source.facts["labels"]), source.hash, source.size,
                    _problem(source.problem), {name: plan.fingerprint(name, number) for name in plan.stages})


def _list(parsed: "StagesFile", artifacts: Path, console: "Console") -> "Listing":
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from pipeline.engine.hashing import HashCache
    from pipeline.stages.dataset import discover

    with Progress(TextColumn("reading videos"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console,
                  transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        return discover(parsed.dataset, HashCache(artifacts / ".video-hashes"),
                        lambda done, total: bar.update(task, completed=done, total=total))


def _options(config: Path, artifacts: Path) -> str:
    usual = config.resolve() == Path("stages.yaml").resolve()
    return ("" if usual else f" --config {os.path.relpath(config)}") + artifacts_option(artifacts)
