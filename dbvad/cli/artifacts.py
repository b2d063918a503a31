"""`dbvad artifacts`: ls, show, verify, gc, compact."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dbvad.cli.pipeline import STAGES as STAGE_NAMES
from dbvad.cli.pipeline import ConfigOption, JsonOption, choose
from dbvad.cli.places import ArtifactsOption
from dbvad.cli.say import say as print
from pipeline.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.engine.store import Store

app = typer.Typer(no_args_is_help=True, help="Look at the shards on disk: how each was made, whether it is whole.")
MB = 2**20


def _folder(value: str | Path) -> Path:
    """Raises a usage error for a URL, or the mirror of one."""
    from pipeline.engine.place import ORIGIN

    if "://" in str(value) or (Path(value) / ORIGIN).exists():
        raise typer.BadParameter("only shards in a folder are compacted: of a bucket `dbvad sql` reads the mirror, "
                                 "which keeps what it has read (docs/storage.md); name a local folder")
    return Path(value)


@app.command()
def ls(artifacts: ArtifactsOption = Path("artifacts"), as_json: JsonOption = False) -> None:
    """Shards and bytes of each stage."""
    from dbvad.cli.errors import need_artifacts
    from dbvad.cli.output import print_json, print_table
    from dbvad.detection.contracts import CONTRACTS
    from pipeline.compact import FOLDER as COMPACT
    from pipeline.contracts import STAGES
    from pipeline.engine.store import Store

    need_artifacts(artifacts)
    store, rows = Store(artifacts), []
    for stage in [*STAGES, *CONTRACTS, "quarantine"]:
        sizes = [store.place.size(path) for path in store.shards(stage)]
        rows.append((stage, len(sizes), round(sum(sizes) / MB, 2)))
    if sizes := [path.stat().st_size for path in (artifacts / COMPACT).glob("*/*.parquet")]:
        rows.append((COMPACT, len(sizes), round(sum(sizes) / MB, 2)))
    (print_json if as_json else print_table)(["stage", "shards", "MB"], rows)


@app.command()
def show(
    video: Annotated[str, typer.Argument(help="A video id, such as fight/fi001.mp4.")],
    stage: Annotated[str | None, typer.Option(help="One stage only.")] = None,
    artifacts: ArtifactsOption = Path("artifacts"),
) -> None:
    """How the shards of a video were made: fingerprint, parameters, models, decoder, counts."""
    import json

    from dbvad.detection.contracts import CONTRACTS
    from pipeline.engine.store import Store

    store = Store(artifacts)
    shown = 0
    own = [name for name in CONTRACTS if stage in (None, name)]
    for name in [*(() if stage in CONTRACTS else choose([stage] if stage else None, None, None)), *own]:
        footer = store.footer(name, video)
        if footer is not None:
            shown += 1
            rows = store.read(name, video, ["video_id"]).num_rows
            print(f"{name}: {counted(rows, 'row')}, {store.place.shown(store.path(name, video))}")
            print(json.dumps({"fingerprint": footer.fingerprint, "made_from": footer.basis, "provenance": footer.meta},
                             indent=2, ensure_ascii=False))
    if not shown:
        known = next((ids[0] for name in STAGE_NAMES if (ids := store.videos(name))), None)
        hint = f"ids look like {known!r}" if known else "there are none yet: run `dbvad pipeline run`"
        raise typer.BadParameter(f"no shard of {video!r} below {store}; {hint}")


@app.command()
def verify(artifacts: ArtifactsOption = Path("artifacts"), as_json: JsonOption = False) -> int:
    """Read every shard whole and check it against its contract; exit code 3 if one is broken."""
    from dbvad.cli.errors import need_artifacts
    from dbvad.cli.output import print_json, print_table
    from dbvad.detection.contracts import CONTRACTS
    from pipeline.contracts import QUARANTINE, STAGES
    from pipeline.manifest import store_of

    need_artifacts(artifacts)
    store = store_of(artifacts)
    checked, faults = 0, []
    for contract in (*STAGES.values(), *CONTRACTS.values(), QUARANTINE):
        for path in store.shards(contract.artifact):
            checked += 1
            if fault := store.fault_of(path, contract):
                faults.append((contract.artifact, str(path.relative_to(artifacts)), fault, store.mend_path(path)))
    columns = ["stage", "shard", "fault", "remedy"]
    if as_json:
        print_json(columns, faults)
    else:
        if faults:
            print_table(columns, faults)
        print(f"{counted(checked, 'shard')} read, {len(faults)} broken")
    return 3 if faults else 0


@app.command()
def gc(
    config: ConfigOption = Path("stages.yaml"),
    artifacts: ArtifactsOption = Path("artifacts"),
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; without it they are only listed.")] = False,
) -> None:
    """Shards of videos that are no longer in the dataset, copies of them, and packed features that none would open."""
    from dbvad.cli.errors import need_artifacts
    from pipeline.compact import beyond
    from pipeline.engine.lock import exclusive
    from pipeline.engine.store import Store
    from pipeline.manifest import left_over

    need_artifacts(artifacts)
    store, ids = Store(artifacts), _todays(config, artifacts)
    gone = [path for paths in left_over(store, ids).values() for path in paths]
    packed = _packed(store)
    copied = [path for stage in STAGE_NAMES for path in beyond(store, stage, ids)]
    size, size_packed, size_copied = sum(map(store.place.size, gone)) / MB, _size(packed), _size(copied)
    for path in (*gone, *packed, *copied):
        print(path.relative_to(artifacts))
    hint = "" if delete else " (--delete removes them)"
    print(f"{counted(len(gone), 'shard')}, {size:.1f} MB of no video in the dataset" + (hint if gone else ""))
    if packed:
        print(f"{counted(len(packed), 'file')}, {size_packed:.1f} MB of features packed for training from other shards "
              f"than today's{hint}")
    if copied:
        print(f"{counted(len(copied), 'file')}, {size_copied:.1f} MB of compacted shards, some of such videos{hint}; "
              "`dbvad artifacts compact` makes them anew")
    if (gone or packed or copied) and delete:
        with exclusive(artifacts):
            for path in gone:
                store.place.remove(path)
            for path in (*packed, *copied):
                path.unlink(missing_ok=True)
        print(f"{size + size_packed + size_copied:.1f} MB freed")


def _size(paths: "Sequence[Path]") -> float:
    """In MB."""
    return sum(path.stat().st_size for path in paths) / MB


@app.command()
def compact(
    stages: Annotated[list[str] | None, typer.Argument(help="Stages; default: all, but of decode, which holds the "
                                                            "pictures, its footers alone.")] = None,
    artifacts: Annotated[Path, typer.Option("--artifacts", "-a", parser=_folder, metavar="FOLDER",
                                            help="Folder of the artifacts.")] = Path("artifacts"),
) -> int:
    """Copy the rows of many shards into few large files, which `dbvad sql` reads in their place while they are true.

    The shards stay, and stay the truth. Run it again when many have changed.
    """
    from dbvad.cli.errors import need_artifacts
    from dbvad.detection.contracts import CONTRACTS
    from dbvad.progress import track
    from pipeline.compact import Copies
    from pipeline.compact import compact as copy
    from pipeline.contracts import STAGES
    from pipeline.engine.lock import exclusive
    from pipeline.manifest import read, store_of

    need_artifacts(artifacts)
    contracts = STAGES | CONTRACTS
    for name in stages or ():
        if name not in contracts:
            raise typer.BadParameter(f"no stage {name!r}: stages: {', '.join(contracts)}")
    faults = 0
    with exclusive(artifacts):
        manifest = read(artifacts)
        store = store_of(artifacts, manifest)
        for name in stages or contracts:
            if stages or store.root.joinpath(name).is_dir():
                rows = bool(stages) or name != "decode" or Copies(store, name).with_rows  # once asked for, they stay
                made = copy(store, contracts[name], manifest.entries, rows, track(f"compacting {name}"))
                size = sum(part.stat().st_size for part in made.parts) / MB
                where = f"{counted(len(made.parts), 'file')}, {size:.1f} MB" if rows else (
                    "their footers alone (`dbvad artifacts compact decode` copies the pictures as well)")
                print(f"{name}: {counted(made.shards, 'shard')} -> {where}; {made.copied} read now")
                if made.moving:
                    print(f"{name}: {counted(made.moving, 'shard')} changed meanwhile and left as they are")
                for damage in made.damaged:
                    print(f"{name}: left as it is: {damage}", file=sys.stderr)
                faults += len(made.damaged)
    return 3 if faults else 0


def _packed(store: "Store") -> list[Path]:
    """What training keeps packed in artifacts/cache and would not use as the shards are now."""
    cache = store.root / "cache"
    if not cache.is_dir():
        return []
    from dbvad.data.dataset import DataError, read_index
    from dbvad.data.features import outdated

    try:
        shards = read_index(store, "train").shards
    except DataError:
        shards = []  # there is nothing to train on
    return [path for path in outdated(cache, shards) if path.exists()]


def _todays(config: Path, artifacts: Path) -> list[str]:
    """Ids of the videos of the stages file's dataset, or, of imported features, of the last import."""
    from rich.console import Console

    from dbvad.cli.dataset import open_dataset
    from pipeline.manifest import NoManifest, read

    try:
        manifest = read(artifacts)
        if manifest.made_by == "import":
            return [entry.video_id for entry in manifest.entries]
    except NoManifest:
        pass
    _, listing = open_dataset(config, artifacts, Console(stderr=True))
    return listing.sources.ids
