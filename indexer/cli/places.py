"""Commands in messages: with the configuration and the store that this command was given."""

import argparse
import re
import shlex

_COMMAND = re.compile(
    r"\blookalike (index|serve|status|verify|versions|rollback|prune|push|pull|graph)\b"
)


def with_places(message: str, options: argparse.Namespace) -> str:
    """Return a message whose commands name the configuration and the store of the ``options``.

    So they do what the message says when they are copied, whatever the store is.
    """
    from indexer.config import DEFAULT_FILE

    given = []
    config, store = getattr(options, "config", None), getattr(options, "store", None)
    if config is not None and config != DEFAULT_FILE:
        given += ["--config", str(config)]
    if store is not None:
        given += ["--store", str(store)]
    return _COMMAND.sub(lambda found: " ".join([found[0], *map(shlex.quote, given)]), message)
