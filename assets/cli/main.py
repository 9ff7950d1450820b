"""Arguments in, one command out; an operator's error is one sentence on standard error and exit code 1.

Imports nothing heavy: each command imports what it needs.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from pipeline.config import CONFIG_VARIABLE, Project, load_project
from pipeline.environment import wait_considerately
from pipeline.errors import TextmillError
from pipeline.tasks import TASKS

INTERRUPTED = 130


def program() -> int:
    """`textmill` as a process of its own: `main`, and an end without taking apart what was imported.

    Python looks through every object several times before it ends, a third of a second where Dagster is imported. Here the
    process ends after the last function of `atexit`, which is the one that was registered first; nothing that is imported
    before registers any.
    """
    code = 1  # of an error that nobody expected

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # a reader that is gone, a stream that is closed
                stream.flush()
        os._exit(code)

    atexit.register(leave)
    try:
        code = main()
    except SystemExit as end:  # of usage and of --help
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    # what imports make stays: looking through it for garbage after every 700 objects takes a tenth of a command's start
    gc.set_threshold(100_000, 10, 10)
    parsed = _parser().parse_args(arguments)
    try:
        project = load_project(parsed.config)
        os.environ[CONFIG_VARIABLE] = str(project.file)  # processes that are started read the same file
        wait_considerately(os.environ)
        return _dispatch(project, parsed)
    except TextmillError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. What was finished is kept; running again goes on from there.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `textmill models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="textmill", description="From raw text to a registered, promoted language model."
    )
    parser.set_defaults(config=None)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--config", metavar="FILE", help="project file (default: $TEXTMILL_CONFIG or dagster_project.yaml)"
    )

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[shared])

    run = command("run", "Build what is not up to date; without a name, everything.")
    run.add_argument("names", nargs="*", metavar="NAME", help="a model, corpus, source ..., or stage/name")
    check = command("check", "Check the project file; say what would run and why.")
    check.add_argument("names", nargs="*", metavar="NAME")
    check.add_argument("--model", help="what training this model will cost, by five steps on this machine")
    ui = command("ui", "Serve Dagster and MLflow on this machine until Ctrl-C.")
    ui.add_argument("--port", type=int, default=3000, help="Dagster's port (default 3000)")
    ui.add_argument("--mlflow-port", type=int, default=5000, help="MLflow's port (default 5000)")
    command("status", "What is built, how the last runs ended and why, what waits.")
    prune = command("prune", "Say which old versions nothing in use needs, and with --delete, delete them.")
    prune.add_argument(
        "--keep", type=int, metavar="N", help="old versions of each asset that stay (default: keep_versions, or 1)"
    )
    prune.add_argument("--delete", action="store_true", help="delete them")
    models = command("models", "The registry: versions, aliases, metrics, lineage.")
    models.add_argument("names", nargs="*", metavar="MODEL")
    board = command("leaderboard", "Every evaluated model of every family and task in one table.")
    board.add_argument("names", nargs="*", metavar="MODEL")
    _generate_options(
        command("generate", "Continue a text with a registered model, or write its translation, summary ...")
    )
    chat = command("chat", "Talk with a registered model, a turn a line; an empty line ends it.")
    chat.add_argument("model", help="MODEL, MODEL@ALIAS, MODEL/VERSION, or a folder that `export` wrote")
    chat.add_argument("--max-tokens", type=int, default=64)
    chat.add_argument("--temperature", type=float, default=0.8)
    chat.add_argument("--top-p", type=float, default=0.9)
    chat.add_argument("--seed", type=int, default=0)
    inspect = command("inspect", "What models make of one text, as one HTML page.")
    inspect.add_argument("model", help="MODEL, MODEL@ALIAS, MODEL/VERSION, or a folder that `export` wrote")
    inspect.add_argument("text")
    inspect.add_argument("--against", nargs="+", default=[], metavar="OTHER", help="more models, side by side")
    inspect.add_argument("--target", help="of an encoder-decoder: this text's alignment (default: what it writes)")
    inspect.add_argument("--out", default="inspection.html", metavar="FILE", help="(default: inspection.html)")
    harness = command("harness", "lm-evaluation-harness on local task files (the extra lm_eval).")
    harness.add_argument("model", help="MODEL, MODEL@ALIAS, MODEL/VERSION, or a folder that `export` wrote")
    harness.add_argument("tasks", nargs="+", metavar="TASK")
    harness.add_argument("--include", required=True, metavar="FOLDER", help="of the YAML files that define the tasks")
    harness.add_argument("--few-shot", type=int, metavar="K", help="(default: what the task says)")
    harness.add_argument("--limit", type=int, metavar="N", help="the first N examples of each task")
    export = command(
        "export", "Write a registered model for other tools: Hugging Face files; an n-gram model as ARPA too."
    )
    export.add_argument("model", help="MODEL (its champion), MODEL@ALIAS or MODEL/VERSION")
    export.add_argument("folder", help="a new or empty folder")
    compare = command("compare", "Two models on the test documents that both held out.")
    compare.add_argument("first", help="MODEL, MODEL@ALIAS or MODEL/VERSION")
    compare.add_argument("second")
    promote = command("promote", "Give the champion alias to a version, on record.")
    promote.add_argument("model")
    promote.add_argument("version")
    promote.add_argument("--reason", default="promoted by hand")
    rollback = command("rollback", "Give the champion alias back to its holder before, on record.")
    rollback.add_argument("model")
    rollback.add_argument("--reason", default="rolled back by hand")
    explain = command("explain", "One document's way through the stages.")
    explain.add_argument("document", help="its id, the beginning of one, or SOURCE:PATH:INDEX or a part of it")
    diff = command("diff", "What changed between two versions of a corpus.")
    diff.add_argument("corpus")
    diff.add_argument("old", nargs="?", help="a version, or the beginning of one (default: the one before)")
    diff.add_argument("new", nargs="?", help="(default: the one in use)")
    sql = command("sql", "One SELECT over what the stages made; SHOW TABLES lists it.")
    sql.add_argument("statement")
    sql.add_argument("--limit", type=int, metavar="ROWS", help="rows shown (default 50; --csv and --json: all)")
    written = sql.add_mutually_exclusive_group()
    written.add_argument("--csv", action="store_true", help="comma-separated values, with a header")
    written.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def _generate_options(generate: argparse.ArgumentParser) -> None:
    """Options without a default: what is not asked for is as the model's task writes."""
    generate.epilog = "Without options, as the model's task writes: " + "; ".join(
        f"{name}: " + (f"{way.num_beams} beams" if way.num_beams > 1 else f"drawn at temperature {way.temperature:g}")
        for name, way in ((name, task.generation) for name, task in TASKS.items())
    )
    generate.add_argument("model", help="MODEL (its champion), MODEL@ALIAS or MODEL/VERSION")
    generate.add_argument("text")
    generate.add_argument("--max-tokens", type=int, dest="max_new_tokens", metavar="N")
    generate.add_argument("--temperature", type=float, metavar="T", help="0: the likeliest token each time")
    generate.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens; 0 for all")
    generate.add_argument(
        "--top-p", type=float, metavar="P", help="draw from those that together have this probability"
    )
    generate.add_argument("--seed", type=int, metavar="N", help="of draws (default 0)")
    generate.add_argument(
        "--beams",
        type=int,
        dest="num_beams",
        metavar="N",
        help="more than 1: the likeliest text instead of a drawn one",
    )
    generate.add_argument("--length-penalty", type=float, metavar="X", help="of beams; larger prefers longer texts")
    generate.add_argument("--min-tokens", type=int, dest="min_new_tokens", metavar="N", help="no end before so many")
    generate.add_argument(
        "--no-repeat-ngram", type=int, metavar="N", help="no run of N tokens twice, such as 3; 0 lets all"
    )


def _dispatch(project: Project, parsed: argparse.Namespace) -> int:
    match parsed.command:
        case "run":
            from assets.cli.run import run

            return run(project, tuple(parsed.names))
        case "check":
            if parsed.model is not None:
                from assets.cli.forecast import show_forecast

                return show_forecast(project, parsed.model)
            from assets.cli.plan import check

            return check(project, tuple(parsed.names))
        case "status":
            from assets.cli.plan import status

            return status(project)
        case "prune":
            from assets.cli.prune import prune

            return prune(project, keep=parsed.keep, is_to_delete=parsed.delete)
        case "ui":
            from assets.cli.ui import serve

            return serve(project, port=parsed.port, mlflow_port=parsed.mlflow_port)
        case "explain" | "diff" | "sql":
            from assets.cli.accounts import dispatch as answer

            return answer(project, parsed)
        case "leaderboard":
            from assets.cli.leaderboard import show_leaderboard

            return show_leaderboard(project, parsed.names)
        case "chat":
            from assets.cli.chat import chat

            return chat(project, parsed)
        case "inspect" | "harness":
            from assets.cli.inspection import dispatch as look

            return look(project, parsed)
        case _:
            from assets.cli.registry import dispatch

            return dispatch(project, parsed)
