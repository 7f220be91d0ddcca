"""HTTP only: the web page and the JSON API over :mod:`indexer.search.searcher`."""
