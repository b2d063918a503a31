"""The command line. One file a command group; whatever is heavy is imported inside the commands."""

import io
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from dbvad import __version__
from dbvad.cli import (
    ablate,
    artifacts,
    calibrate,
    choose,
    demo,
    detect,
    doctor,
    evaluate,
    events,
    export,
    importing,
    pipeline,
    places,
    profile,
    report,
    sql,
    train,
    watch,
)

DONE, USAGE, INTERNAL, QUARANTINED, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    name="dbvad", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Find anomalous events in surveillance video: describe, train, evaluate, report.\n\n"
         "Exit codes: 0 done, 1 usage or set-up, 2 internal, 3 finished with quarantined videos, 4 an event was found "
         "(detect --fail-on-event), 130 interrupted.")
pipeline.app.command("profile")(profile.profile)
app.add_typer(pipeline.app, name="pipeline")
app.add_typer(artifacts.app, name="artifacts")
app.add_typer(importing.app, name="import")
app.add_typer(demo.app, name="demo")
app.command("sql")(sql.sql)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("detect")(detect.detect)
app.command("calibrate")(calibrate.calibrate)
app.add_typer(events.app, name="events")
app.command("export")(export.export)
app.command("ablate")(ablate.ablate)
app.command("choose")(choose.choose)
app.command("report")(report.report)
app.command("watch", cls=watch.WatchCommand)(watch.watch)
app.command("doctor")(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dbvad {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                                 help="Print the version and exit.")] = False) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code; a user's error is one message, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is no UTF-8, a name that is none
    try:
        places.refuse_urls(sys.argv[1:] if arguments is None else arguments)
        code = app(args=arguments, standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt  # Typer makes an exit code of it
        sys.exit(code if isinstance(code, int) else DONE)
    except TyperException as error:
        if hasattr(error, "show"):
            error.show()  # with the command's usage
        else:
            print(f"error: {error}", file=sys.stderr)
        sys.exit(USAGE)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted: what was finished is kept, run the same command again to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(DONE)
    except Exception as error:
        from dbvad.cli.errors import for_user
        from pipeline.engine.printable import printable

        message = for_user(error)
        if message is None:
            import traceback

            traceback.print_exc()
            print("internal error: please report it with the lines above", file=sys.stderr)
            sys.exit(INTERNAL)
        print(f"error: {printable(message)}", file=sys.stderr)
        sys.exit(USAGE)
