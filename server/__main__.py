"""``python -m server``: serve the index, or make an API key."""

import argparse
import secrets
import sys
from pathlib import Path
from typing import Any

from indexer.errors import LookalikeError
from indexer.machine import isolate_imports, limit_spinning, use_utf8


def main() -> int:
    """Run the command line's request; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m server", description="Serve the index.")
    add_arguments(parser)
    return run(parser.parse_args())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (config.yaml)")
    parser.add_argument("--store", metavar="FOLDER", help="where the index lives")
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="PATH",
        help="where the images are now, if not where they were indexed; folders in the same order",
    )
    parser.add_argument("--port", type=int, metavar="N", help="port to listen on")
    parser.add_argument("--new-key", choices=("read", "admin"), help="make an API key and exit")


def run(options: argparse.Namespace) -> int:
    """Serve until stopped, or make a key. Return 1 if the server cannot start."""
    if options.new_key:
        _make_key(options.new_key)
        return 0
    from indexer.config import is_address, load_config
    from server.gunicorn_server import serve

    flags: dict[str, Any] = {}
    if options.images is not None:
        first, *others = options.images
        kind = "objects" if is_address(first) else "folder"  # that of the index counts
        flags["dataset"] = {"kind": kind, "root": options.images if others else first}
    if options.store is not None:
        flags["store"] = options.store
    if options.port is not None:
        flags["server"] = {"port": options.port}
    try:
        return serve(load_config(options.config, flags))
    except LookalikeError as error:
        sys.stderr.write(f"Error: {error.message}\n{error.hint}\n")
        return 1


def _make_key(scope: str) -> None:
    """Print a new key and its entry for the configuration."""
    from server.admission.keys import digest

    key = secrets.token_urlsafe(32)
    sys.stderr.write(
        "The key, which is stored nowhere, and its entry for server.api_keys; choose a name.\n"
    )
    sys.stdout.write(f"{key}\n{{name: somebody, sha256: {digest(key)}, scope: {scope}}}\n")


if __name__ == "__main__":
    use_utf8()
    limit_spinning()
    isolate_imports()
    raise SystemExit(main())
