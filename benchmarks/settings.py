"""Settings that are the same on every machine."""

from typing import Any

from indexer.config import Config


class Defaults(Config):
    """All settings at their defaults but those that are given.

    Neither config.yaml nor ``LOOKALIKE_`` variables are read: what somebody has set for their own
    images would otherwise be measured.
    """

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: Any, init_settings: Any, *_: Any, **__: Any
    ) -> tuple[Any, ...]:
        """Take what the constructor was given, and nothing else."""
        return (init_settings,)
