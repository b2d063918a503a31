"""`dbvad sql`: questions to the artifacts."""

import sys
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dbvad.cli.places import ArtifactsOption
from dbvad.cli.say import say as print
from pipeline.words import counted

if TYPE_CHECKING:
    import duckdb

    from pipeline.instruments.clip import Clip

ROWS = 100  # of a result shown as a table


def sql(
    query: Annotated[str | None, typer.Argument(help="One query; without it, an interactive prompt.")] = None,
    artifacts: ArtifactsOption = Path("artifacts"),
    config: Annotated[Path, typer.Option("--config", "-c", help="The stages file: names the CLIP model of clip_text()."
                                         )] = Path("stages.yaml"),
    views: Annotated[bool, typer.Option("--views", help="List the views and their columns.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Ask the artifacts: one view a stage, plus quarantine, runs and description_quality. Read-only.

    In a folder of `dbvad detect` there are `detected` (a score a snippet), `events` and `explained` as well.

    `clip_text('a fight')` embeds a text in the space of the `score` and `embed` vectors.
    """
    from dbvad.cli.dataset import tell_left_over
    from dbvad.cli.errors import need_artifacts
    from dbvad.cli.output import print_table
    from dbvad.detection.contracts import VIEWS
    from pipeline.contracts import STAGES
    from pipeline.sql import RESERVED, connect, speaks_of
    from pipeline.sql import views as list_views

    if as_json and as_csv:
        raise typer.BadParameter("--json or --csv, not both")
    need_artifacts(artifacts)
    if query is None and not views and not sys.stdin.isatty():
        query = sys.stdin.read()
    spoken = [stage for stage in (*STAGES, "quarantine")
              if query is None or views or speaks_of(query, RESERVED.get(stage, stage))]
    tell_left_over(artifacts, spoken)
    with closing(connect(artifacts, _text_encoder(config), None if views else query, _note, VIEWS)) as con:
        if views:
            print_table(["view", "columns", "rows"], list_views(con), cell=1000)
        elif query is not None:
            _answer(con, query, as_json, as_csv)
        else:
            _prompt(con, artifacts)


def _note(line: str) -> None:
    print(line, file=sys.stderr)


def _answer(con: "duckdb.DuckDBPyConnection", text: str, as_json: bool = False, as_csv: bool = False) -> None:
    from dbvad.cli.output import print_csv, print_json, print_table
    from pipeline.sql import query

    result = query(con, text)
    if result is None:
        return
    if as_json:
        print_json(result.columns, result.rows)
    elif as_csv:
        print_csv(result.columns, result.rows)
    elif result.columns in (["explain_key", "explain_value"], ["physical_plan"]):
        for row in result.rows:
            print(row[-1])
    else:
        print_table(result.columns, result.rows, limit=ROWS)


def _prompt(con: "duckdb.DuckDBPyConnection", artifacts: Path) -> None:
    """Read queries until Ctrl-D. A query ends with `;` or an empty line; the history is kept beside the artifacts."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory

    from pipeline.sql import QueryError
    from pipeline.sql import views as list_views

    listed = list_views(con)
    print(f"views: {', '.join(name for name, _, _ in listed)}\n"
          "end a query with ; or an empty line; .views lists columns; Ctrl-D leaves")
    words = {word.strip(",") for name, columns, _ in listed for word in [name, *columns.split()]}
    session: PromptSession[str] = PromptSession(history=FileHistory(str(artifacts / ".sql-history")),
                                                completer=WordCompleter(sorted(words | {"select", "from", "where"})),
                                                complete_while_typing=False)
    lines: list[str] = []
    while True:
        try:
            line = session.prompt("...> " if lines else "sql> ")
        except KeyboardInterrupt:
            lines.clear()
            continue
        except EOFError:
            return
        if line.strip() in (".views", ".quit", ".exit"):
            if line.strip() != ".views":
                return
            for name, columns, rows in listed:
                print(f"{name} ({counted(rows, 'row')}): {columns}")
            continue
        lines.append(line)
        if line.strip() and not line.rstrip().endswith(";"):
            continue
        try:
            _answer(con, "\n".join(lines))
        except QueryError as error:
            print(f"error: {error}", file=sys.stderr)
        lines.clear()


def _text_encoder(config: Path) -> Callable[[str], list[float]]:
    """Text -> unit vector, by the CLIP model of the embed stage, which is loaded at the first call."""

    @cache
    def model() -> "Clip":
        from pipeline import stages

        return stages.read(config).embed.load()

    def encode(text: str) -> list[float]:
        return [float(value) for value in model().encode_long_text(text)[0]]

    return encode
