"""`dbvad report`: a run, its data and its videos as one page."""

from pathlib import Path
from typing import Annotated

import typer

from dbvad.cli.places import ArtifactsOption
from dbvad.cli.say import say as print
from pipeline.lists.events import Format
from pipeline.words import counted

MB = 2**20


def report(
    run: Annotated[Path | None, typer.Argument(help="Run folder, evaluated; without one the page shows the data "
                                                    "alone.")] = None,
    artifacts: ArtifactsOption = Path("artifacts"),
    out: Annotated[Path, typer.Option(help="Folder for index.html, or the page itself (NAME.html).")] = Path("report"),
    annotations: Annotated[Path | None, typer.Option(help="When events happen; by default what the run was evaluated "
                                                          "with.")] = None,
    format: Annotated[Format, typer.Option(help="Format of the annotations.")] = "auto",
    ladder: Annotated[list[Path] | None, typer.Option(help="Outcome of `dbvad ablate` (ladder.json), may be repeated.")
                      ] = None,
    max_videos: Annotated[int | None, typer.Option(min=1, help="Show so many videos at most, from the best to the "
                                                               "worst.")] = None,
    frames: Annotated[int | None, typer.Option(min=0, help="Pictures a video at most; by default 24 to 120, the more "
                                                           "the fewer videos.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a page that shows the results, every video's timeline, its key frames and its description.

    It opens offline in any browser: one file for up to 200 videos, a page with a data folder beside it for more. What
    is not there yet (scores, annotations, descriptions) is left out, and the page says what to run.
    """
    import json
    import time

    from dbvad.cli.dataset import check_unchanged
    from dbvad.progress import track
    from dbvad.report.inputs import read_inputs
    from dbvad.report.page import write_report
    from pipeline.engine.store import Store
    from pipeline.lists.remarks import remarks_from

    check_unchanged(artifacts)
    began = time.monotonic()
    page = out if out.suffix.lower() in (".html", ".htm") else out / "index.html"
    inputs = read_inputs(Store(artifacts), run, annotations, format, ladder or ())
    written = write_report(inputs, page, max_videos=max_videos, frames=frames, track=track("report"))
    seconds = time.monotonic() - began
    if as_json:
        print(json.dumps({"page": str(written.page), "videos": written.videos, "files": written.files,
                          "bytes": written.bytes, "seconds": round(seconds, 2), "left_out": dict(written.missing)},
                         indent=2, ensure_ascii=False))
        return
    for remark in remarks_from((inputs.result or {}).get("warnings", ())):
        print(f"warning, from the evaluation: {remark}")
    told = [sentence for part, sentence in written.missing.items() if ladder or part != "ladder"]
    for sentence in dict.fromkeys(told):
        print(f"left out: {sentence}")
    beside = f" and {counted(written.files, 'data file')} beside it" if written.files else ""
    print(f"{written.page}{beside}: {counted(written.videos, 'video')}, {written.bytes / MB:.1f} MB, in "
          f"{seconds:.1f} s")
