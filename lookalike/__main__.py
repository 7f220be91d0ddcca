"""The command ``lookalike``, and ``python -m lookalike`` in a checkout."""

from typing import NoReturn

from indexer.machine import isolate_imports, leave, limit_spinning, use_utf8
from lookalike import cli


def main() -> NoReturn:
    """Set up this process and run the command line."""
    use_utf8()
    limit_spinning()
    isolate_imports()
    leave(cli.main())


if __name__ == "__main__":
    main()
