"""``python -m indexer``."""

from indexer.cli.parser import main
from indexer.machine import isolate_imports, leave, limit_spinning, use_utf8

if __name__ == "__main__":
    use_utf8()
    limit_spinning()
    isolate_imports()
    leave(main())
