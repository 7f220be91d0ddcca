"""HTTP only: the web page and the JSON API over :mod:`indexer.search`."""

from server.app import create_app

__all__ = ["create_app"]
