"""The command ``lookalike``: the verbs of ``python -m indexer``, the server, and the demo."""

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path

import server.__main__ as server
from indexer import __version__
from indexer.cli import parser as indexer
from indexer.machine import INTERRUPTED, NoHome, leave, user_cache_folder

FILE_METAVARS = {"PATH", "IMAGE", "FILE", "FOLDER"}
"""What a shell completes with the names of files and folders."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 for a failure, 2 for wrong usage."""
    options = make_parser().parse_args(arguments)
    status: int = options.command(options)
    return status


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="lookalike",
        description="Image-similarity search: index your images, then search them with an image.",
        epilog="`lookalike COMMAND --help` lists the options of a command. Settings come from "
        "config.yaml, LOOKALIKE_SECTION__KEY variables and options.",
    )
    parser.add_argument("--version", action="version", version=f"Lookalike {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    command = commands.add_parser("demo", help="index 210 photographs and serve them")
    command.add_argument("--port", type=int, metavar="N", help="port to listen on (8000)")
    command.add_argument("--store", metavar="FOLDER", help="where the demo's index lives")
    command.set_defaults(command=demo)

    indexer.add_verbs(commands)

    command = commands.add_parser("serve", help="serve the index: web page and HTTP API")
    server.add_arguments(command)
    command.set_defaults(command=server.run)

    command = commands.add_parser("completion", help="print a script that completes commands")
    command.add_argument("shell", choices=("bash", "zsh"), help="the shell it is for")
    command.set_defaults(command=completion)
    return parser


def demo(options: argparse.Namespace) -> int:
    """Index the demo's photographs with the embedded encoder, then serve them until stopped."""
    config = _demo_folder() / "config.yaml"
    try:
        store = options.store or str(user_cache_folder() / "demo")
    except NoHome as error:
        print(
            f"Error: {error}\nOr name a folder for the demo's index: --store FOLDER",
            file=sys.stderr,
        )
        return 1
    print("Indexing the demo's photographs with the embedded encoder.", flush=True)
    # A process of its own: the server forks, which the threads of FAISS and ncnn do not survive.
    process = multiprocessing.get_context("fork").Process(target=_index, args=(config, store))
    process.start()
    try:
        process.join()
    except KeyboardInterrupt:  # Ctrl-C reached the process as well, which ends and says so
        process.join()
        return process.exitcode or INTERRUPTED
    if process.exitcode:
        return process.exitcode
    print("Starting the server. Ctrl-C stops it.", flush=True)
    return server.run(
        argparse.Namespace(config=config, store=store, images=None, port=options.port, new_key=None)
    )


def completion(options: argparse.Namespace) -> int:
    """Print the script that completes this command in a shell."""
    import shtab

    parser = make_parser()
    _complete_files(parser, shtab.FILE)
    print(shtab.complete(parser, options.shell))
    return 0


def _index(config: Path, store: str) -> None:
    leave(indexer.main(["index", "--config", str(config), "--store", store]))


def _demo_folder() -> Path:
    """Return where the demo is: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "demo"
    return installed if installed.is_dir() else package.parent / "demo"


def _complete_files(parser: argparse.ArgumentParser, complete: object) -> None:
    """Tell shtab which arguments are files. argparse has no public way to list them."""
    for action in parser._actions:  # noqa: SLF001
        if action.metavar in FILE_METAVARS:
            action.complete = complete  # type: ignore[attr-defined]
        elif isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                _complete_files(command, complete)
