"""Answers as JSON, in the shape of the HTTP API: whoever reads the one can read the other.

``server.api.search_answers`` documents every field. Only a server can give the addresses ``url``
and ``thumbnail_url``, which are missing here; a test compares everything else with a real server.
"""

from typing import Any

from indexer.encoders import EncoderSpec
from indexer.search.answers import Answer, Hit


def image_search(answer: Answer) -> dict[str, Any]:
    """Return the answer to a search by an image file as JSON-ready values; times are in ms."""
    return {
        "version": answer.version,
        "encoder": _encoder(answer.encoder),
        "mode": answer.mode,
        "query": {
            "kind": "image",
            "image_id": None,
            "url": None,
            "crop": None,
            "allowed": None,
            "positives": [],
            "negatives": [],
            "k": answer.k,
            "page": answer.page,
            "threshold": None,
            "collapse_duplicates": False,
        },
        "timings_ms": dict(answer.timings_ms),
        "results": [_result(hit) for hit in answer.hits],
        "more": answer.more,
    }


def _encoder(spec: EncoderSpec) -> dict[str, Any]:
    return {
        "model": spec.model,
        "layer": spec.layer,
        "weights": spec.weights_name,
        "dim": spec.dim,
        "preprocessing": spec.preprocessing,
        "fingerprint": spec.fingerprint,
        "random_weights": spec.is_random,
    }


def _result(hit: Hit) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "image_id": hit.image.id,
        "key": hit.image.key,
        "distance": hit.distance,
        "cosine": hit.cosine,
        "metadata": dict(hit.image.metadata),
        "duplicates": [_result(duplicate) for duplicate in hit.duplicates],
    }
