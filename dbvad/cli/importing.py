"""`dbvad import`: published features and other people's descriptions into artifacts."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dbvad.cli.places import ArtifactsOption, artifacts_option
from dbvad.cli.say import say as print
from dbvad.cli.trained import Device
from pipeline.words import counted

if TYPE_CHECKING:
    from dbvad.importing.descriptions import Encoder
    from dbvad.importing.descriptions import Report as Descriptions
    from dbvad.importing.features import Report
    from dbvad.importing.sources import Matched
    from dbvad.presets import Preset
    from pipeline.engine.store import Store
    from pipeline.lists.remarks import Remark

app = typer.Typer(no_args_is_help=True, help="Published features and other people's descriptions into artifacts, as if "
                                             "the pipeline had made them.")
HASHES = ".import-hashes"
SHOWN = 20  # rows of a list of faults; --json has them all
MB = 1 << 20
StrictOption = Annotated[bool, typer.Option("--strict", help="Exit code 1 where anything was left out or is odd.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


@app.command()
def features(
    folder: Annotated[Path, typer.Argument(help="Folder of the .npy files; a video's id is its path in here.")],
    train: Annotated[Path | None, typer.Option(help="Training videos: a CSV path,label or the official list.")] = None,
    test: Annotated[Path | None, typer.Option(help="Test videos, likewise.")] = None,
    labels: Annotated[Path | None, typer.Option(help="In place of lists: a CSV video,label[,split].")] = None,
    preset: Annotated[str | None, typer.Option(help="ucf-crime or xd-violence: how lists write labels, the classes, "
                                                    "the frame rate.")] = None,
    frames: Annotated[Path | None, typer.Option(help="CSV video,frames[,dataset]: lengths are checked.")] = None,
    per_frame: Annotated[bool, typer.Option("--per-frame", help="A row is a frame: --snippet of them are averaged."
                                            )] = False,
    snippet: Annotated[int, typer.Option(min=1, help="Frames that a snippet spans.")] = 16,
    layout: Annotated[Literal["auto", "tcd", "ctd"], typer.Option(help="Axes of arrays with crops.")] = "auto",
    only_listed: Annotated[bool, typer.Option("--only-listed", help="Of the crops of a video take those that the list "
                                                                    "names, not all that lie beside them.")] = False,
    tolerance: Annotated[int, typer.Option(min=0, help="Snippets by which a length may differ from --frames.")] = 1,
    crop_mark: Annotated[Literal["_", "__"] | None, typer.Option(help="What stands before a crop's number in a file's "
                                                                 "name: __ (Name__0.npy) unless told.")] = None,
    normal: Annotated[str | None, typer.Option(help="What normal videos are called, if not `normal`.")] = None,
    fps: Annotated[float | None, typer.Option(min=0, help="Frames a second of the videos.")] = None,
    model: Annotated[str | None, typer.Option(help="What made the features, for the record.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads.")] = None,
    add: Annotated[bool, typer.Option("--add", help="Keep the videos of earlier imports in the dataset, too.")] = False,
    strict: StrictOption = False,
    artifacts: ArtifactsOption = Path("artifacts"),
    as_json: JsonOption = False,
) -> int:
    """Features of videos: (T, D), (T, crops, D), (crops, T, D) or one file a crop, `Name__k.npy`; any D.

    Vectors are scaled to length 1. Done stays done: run again to go on, or after a file has changed. A bad file costs
    its video only: it goes to quarantine, and the exit code is 3.
    """
    from dbvad.importing.features import Rules, default_workers, import_features
    from dbvad.importing.lists import read_frame_counts
    from dbvad.importing.sources import inspect
    from dbvad.presets import load
    from dbvad.progress import progress
    from pipeline.engine.hashing import HashCache
    from pipeline.engine.store import Store

    began = time.monotonic()
    chosen = load(preset) if preset else None
    matched, remarks = _matched(folder, train, test, labels, chosen, only_listed, normal, crop_mark)
    matched = replace(matched, sources=inspect(matched.sources, None if layout == "auto" else layout))
    rules = Rules(per_frame, snippet, fps if fps is not None else chosen.fps if chosen else 0.0,
                  model or (chosen.features if chosen else "unknown"), tolerance)
    counts = read_frame_counts(frames, chosen.name if chosen else None) if frames else None
    total = sum(source.size for source in matched.sources)
    store = Store(artifacts)
    with _alone(artifacts, ["ingest", "score"]), progress("import features, MB", -(-total // MB)) as tell:
        cache = HashCache(artifacts / HASHES)
        try:
            report = import_features(matched, store, rules, counts=counts, add=add,
                                     workers=workers or default_workers(),
                                     hash_of=lambda path: cache.hash(os.path.relpath(path, folder), path),
                                     update=lambda done, note: tell(done // MB, note) if done >= MB else None)
        finally:
            cache.save()
    report.remarks = remarks + report.remarks + _left_out(matched, report)
    _show_features(report, matched, store, time.monotonic() - began, as_json)
    if strict and (report.problems or report.notes or report.remarks):
        return 1
    return 3 if report.problems else 0


@app.command()
def descriptions(
    file: Annotated[Path | None, typer.Argument(help="Texts: JSON {video: text}, or a CSV video,text.")] = None,
    embeddings: Annotated[Path | None, typer.Option(help="Vectors: an .npz with `videos` and `embeddings`, any width."
                                                    )] = None,
    clip: Annotated[str | None, typer.Option(help="CLIP for the texts: an open_clip name, or a folder.")] = None,
    pretrained: Annotated[str | None, typer.Option(help="Its weights, such as openai.")] = None,
    device: Device = "auto",
    strict: StrictOption = False,
    artifacts: ArtifactsOption = Path("artifacts"),
    as_json: JsonOption = False,
) -> int:
    """Descriptions of training videos, as texts that a CLIP embeds, or with embeddings of your own, or both.

    Those of test videos are refused: the method has none there. Exit code 3 if any was refused or could not be used.
    """
    from dbvad.importing import ImportFault
    from dbvad.importing.descriptions import import_descriptions, read_texts, read_vectors
    from dbvad.progress import progress
    from pipeline.engine.store import Store

    if file is None and embeddings is None:
        raise ImportFault("nothing to import: give a file of texts, or --embeddings FILE.npz, or both")
    if clip and embeddings:
        raise ImportFault("--clip makes embeddings and --embeddings gives them: use one of the two")
    began = time.monotonic()
    texts = read_texts(file) if file else {}
    vectors = read_vectors(embeddings) if embeddings else {}
    encoder = _encoder(clip, pretrained, device, artifacts) if clip else None
    total = len(set(texts) | set(vectors))
    with _alone(artifacts, ["describe", "embed"]), progress("import descriptions", total) as update:
        report = import_descriptions(Store(artifacts), texts, vectors, encoder, update=update,
                                     source=", ".join(path.name for path in (file, embeddings) if path))
    _show_descriptions(report, artifacts, time.monotonic() - began, as_json)
    if strict and (report.problems or report.refused or report.unknown or report.kept or report.without):
        return 1
    return 3 if report.problems or report.refused else 0


def _matched(folder: Path, train: Path | None, test: Path | None, labels: Path | None, preset: "Preset | None",
             only_listed: bool, normal: str | None, crop_mark: str | None) -> tuple["Matched", list["Remark"]]:
    """The videos that the lists, the labels file or the file names speak of. Raises ImportFault."""
    from dbvad.importing import ImportFault
    from dbvad.importing.lists import Labels, by_crop, labels_in_names, read_labels, read_list, settle
    from dbvad.importing.sources import match, scan, settle_crops
    from pipeline.lists.names import CROP_MARK

    rule = Labels(preset.labels, preset.event_classes) if preset else Labels()
    if normal:
        called = (normal, *(rule.rule.normal if preset else ()))
        rule = replace(rule, rule=rule.rule.model_copy(update={"normal": called}))
    if labels and (train or test):
        raise ImportFault("--labels holds the splits itself: give either --labels, or --train and --test")
    files = scan(folder, crop_mark or CROP_MARK)
    if labels:
        entries = read_labels(labels, rule)
    elif rule.rule.in_names and not train:
        entries = labels_in_names(files, test, rule)
    elif train or test:
        entries = [entry for split, path in (("train", train), ("test", test)) if path
                   for entry in read_list(path, split, rule)]
    else:
        raise ImportFault("no labels: give --labels FILE.csv with the columns video,label,split, or --train and --test "
                          "lists")
    entries, remarks = settle(entries)
    if crop_mark:
        entries = by_crop(entries, crop_mark)
    else:
        files = settle_crops(entries, files, scan(folder, "_"))
    return match(entries, files, folder, only_listed=only_listed), remarks


@contextmanager
def _alone(artifacts: Path, stages: list[str]) -> Iterator[None]:
    """Hold the artifacts folder, swept of what an interrupted import left. A disk that is full is the user's matter."""
    from dbvad.importing import ImportFault
    from pipeline.engine.lock import exclusive
    from pipeline.engine.sweep import sweep

    try:
        with exclusive(artifacts):
            sweep(artifacts, stages)
            yield
    except OSError as error:
        raise ImportFault(f"cannot write to {artifacts}: {error}. What was imported is kept; run it again to go on"
                          ) from error


def _encoder(model: str, pretrained: str | None, device: str, artifacts: Path) -> "Encoder":
    """A CLIP that is loaded at the first text."""
    from functools import cache

    from dbvad.importing.descriptions import Encoder
    from pipeline.engine.hashing import HashCache
    from pipeline.instruments import clip
    from pipeline.stages.models import identify, name_of

    hashes = HashCache(artifacts / HASHES)
    identity = {"model": identify(model, pretrained, hashes), "library": clip.rules()}
    hashes.save()
    load = cache(lambda: clip.load(model, pretrained, device=device))
    return Encoder(name_of(model), identity, lambda text: load().encode_long_text(text))


def _show_features(report: "Report", matched: "Matched", store: "Store", seconds: float, as_json: bool) -> None:
    from dbvad.cli.output import print_table

    used = next((source for source in matched.sources if not source.problem), None)
    if as_json:
        _print_json({"videos": report.videos, "imported": report.imported, "up_to_date": report.current,
                     "quarantined": len(report.problems), "bytes": report.bytes, "seconds": round(seconds, 2),
                     "published_norms": [report.norms.low, report.norms.high] if report.imported else None,
                     "problems": _problems(report.problems), "notes": [list(note) for note in report.notes],
                     "not_in_lists": matched.unlisted, "left_out": report.left_out,
                     "warnings": [remark.as_dict() for remark in report.remarks]})
        return
    if report.problems:
        print_table(["video", "kind", "reason", "remedy"], report.problems, limit=SHOWN,
                    title=f"{len(report.problems)} in quarantine: {_kinds(report.problems)}")
    if report.notes:
        print_table(["video", "note"], report.notes, limit=SHOWN, title=f"{len(report.notes)} to know about")
    for remark in report.remarks:
        print(f"warning: {remark}")
    splits = Counter((source.split, bool(source.labels)) for source in matched.sources)
    print("; ".join(f"{split}: {splits[split, False]} normal + {splits[split, True]} abnormal"
                    for split in ("train", "test")))
    if used:
        _, crops, width = used.shape
        low, high = report.norms.low, report.norms.high
        norms = f"; vectors of length {low:.3g} to {high:.3g} scaled to 1" if report.imported else ""
        print(f"{counted(crops, 'crop')} of {width} numbers a snippet{norms}")
    print(f"{report.imported} imported, {report.current} up to date, {len(report.problems)} in quarantine: "
          f"{report.bytes / MB:.0f} MB in {seconds:.1f} s")
    if report.problems:
        print("where the reasons are: dbvad sql \"select * from quarantine\"" + artifacts_option(store.root))


def _show_descriptions(report: "Descriptions", root: Path, seconds: float, as_json: bool) -> None:
    from dbvad.cli.output import print_table

    if as_json:
        _print_json({"imported": report.imported, "up_to_date": report.current, "refused": report.refused,
                     "unknown": report.unknown, "kept_from_before": report.kept, "without": report.without,
                     "seconds": round(seconds, 2), "problems": _problems(report.problems)})
        return
    if report.problems:
        print_table(["video", "kind", "reason", "remedy"], report.problems, limit=SHOWN,
                    title=f"{len(report.problems)} cannot be used")
    _print_left_out(report.refused, "are of test videos and were refused: they would be a leak")
    _print_left_out(report.unknown, "are of no video here")
    _print_left_out(report.kept, "training videos keep the description of an earlier import")
    _print_left_out(report.without, "training videos have no description")
    print(f"{report.imported} imported, {report.current} up to date in {seconds:.1f} s")
    print(f"next: dbvad train{artifacts_option(root)}")


def _left_out(matched: "Matched", report: "Report") -> list["Remark"]:
    from pipeline.lists.remarks import remarks_on

    return remarks_on(
        ("unlisted", "videos of the folder are in no list and were left out", matched.unlisted),
        ("earlier", "videos of earlier imports are not in this one and were left out (--add keeps them, `dbvad "
                    "artifacts gc` frees their room)", report.left_out))


def _print_left_out(names: list[str], what: str) -> None:
    if names:
        print(f"{len(names)} {what}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}")


def _kinds(rows: list[tuple[str, str, str, str]]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in Counter(kind for _, kind, _, _ in rows).most_common())


def _problems(rows: list[tuple[str, str, str, str]]) -> list[dict[str, str]]:
    return [dict(zip(("video", "kind", "reason", "remedy"), row, strict=True)) for row in rows]


def _print_json(content: dict[str, Any]) -> None:
    import json

    print(json.dumps(content, indent=2, ensure_ascii=False))
