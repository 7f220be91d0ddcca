"""The HTTP server: the web pages and the JSON API, over :mod:`indexer.search`."""
