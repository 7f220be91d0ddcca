"""``python -m indexer``."""

from indexer.cli.parser import main
from indexer.machine import isolate_imports, limit_spinning

if __name__ == "__main__":
    limit_spinning()
    isolate_imports()
    raise SystemExit(main())
