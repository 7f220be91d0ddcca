"""The command ``lookalike``, and ``python -m lookalike`` in a checkout."""

from indexer.machine import isolate_imports, limit_spinning, use_utf8
from lookalike import cli


def main() -> int:
    """Set up this process and run the command line."""
    use_utf8()
    limit_spinning()
    isolate_imports()
    return cli.main()


if __name__ == "__main__":
    raise SystemExit(main())
