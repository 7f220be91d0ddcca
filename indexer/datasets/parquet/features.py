"""What Hugging Face's ``datasets`` notes in the schema of a Parquet file: its columns' features.

https://huggingface.co/docs/datasets/about_dataset_features
"""

from collections.abc import Mapping
from typing import Any

from indexer.text import parse_json

KEY = b"huggingface"
IMAGE_TYPES = (None, "Image", "Value")
"""Features of columns that may hold images; others of the same types hold audio, or video."""


def read_features(metadata: Mapping[bytes, bytes] | None) -> Mapping[str, Any]:
    """Return the features by column, from the metadata of a schema; none if there are none."""
    try:
        noted = parse_json((metadata or {}).get(KEY, b"{}"))
    except ValueError:
        return {}
    for name in ("info", "features"):
        noted = noted.get(name) if isinstance(noted, dict) else None
    return noted if isinstance(noted, dict) else {}


def type_of(feature: Any) -> str | None:
    """Return the type of a feature, such as ``Image``; None if there is none."""
    found = feature.get("_type") if isinstance(feature, dict) else None
    return found if isinstance(found, str) else None


def with_names(value: Any, feature: Any) -> Any:
    """Return a value with the names of classes in the place of their numbers, at any depth."""
    while isinstance(feature, list) or (type_of(feature) and "feature" in feature):  # of a list
        feature = (feature or [None])[0] if isinstance(feature, list) else feature["feature"]
    if isinstance(value, list):
        return [with_names(one, feature) for one in value]
    if not isinstance(feature, dict):
        return value
    if isinstance(value, dict):
        return {name: with_names(one, feature.get(name)) for name, one in value.items()}
    names = feature.get("names") if type_of(feature) == "ClassLabel" else None
    if isinstance(names, list) and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return value  # -1 stands for no class
