"""``python -m indexer``."""

from indexer.cli.parser import main
from indexer.machine import limit_spinning

if __name__ == "__main__":
    limit_spinning()
    raise SystemExit(main())
