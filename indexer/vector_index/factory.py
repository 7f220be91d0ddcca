"""Which approximate indexes there are: FAISS factory strings that are accepted, and ``auto``."""

import re

import faiss

from indexer.errors import ConfigError

AUTO = "auto"

FACTORIES = (
    r"((OPQ\d+(_\d+)?|PCAR?\d+|RR\d+),)?"  # an optional rotation
    r"IVF\d+,(Flat|SQ4|SQ6|SQ8|SQfp16|PQ\d+)"  # lists, and what they hold of each vector
)
"""The factory strings that are accepted: what the contract tests run over."""

AUTO_DIMENSIONS = 256
"""``auto`` keeps so many principal coordinates, a byte each: a 64th of a 4096-d vector."""

VECTORS_PER_LIST = 39
"""FAISS warns below that many vectors to train a list's centre on."""


def resolve_factory(setting: str, dim: int, count: int) -> str:
    """Return the factory string that ``index.approximate`` stands for with ``count`` vectors.

    Raises :class:`ConfigError` for one that is not supported or cannot be trained on so few.
    """
    if setting == AUTO:
        lists = max(1, min(round(2 * count**0.5), count // VECTORS_PER_LIST))
        return f"PCA{min(AUTO_DIMENSIONS, max(dim // 4, 1))},IVF{lists},SQ8"
    _, inverted = new_index(setting, dim)
    product_quantiser = re.search(r",PQ", setting) is not None
    optimised = re.match(r"OPQ", setting) is not None
    needed = max(inverted.nlist, 256 if product_quantiser else 0, dim if optimised else 0)
    if count < needed:
        raise ConfigError(
            f"index.approximate: {setting} needs at least {needed} images to be trained; "
            f"there are {count}.",
            "Choose auto, or fewer lists (about the square root of the number of images), or null.",
        )
    return setting


def code_size(setting: str, dim: int, count: int) -> int:
    """Return how many bytes the index ``setting`` stands for keeps of each vector."""
    factory = resolve_factory(AUTO, dim, count) if setting == AUTO else setting
    return int(new_index(factory, dim)[0].sa_code_size())


def new_index(factory: str, dim: int) -> tuple[faiss.Index, faiss.IndexIVF]:
    """Make an untrained index; only kinds that can be filtered and searched with any nprobe."""
    hint = (
        "Use auto, or a factory string such as IVF1024,SQ8 or OPQ64,IVF1024,PQ64: "
        "https://github.com/facebookresearch/faiss/wiki/The-index-factory"
    )
    if not re.fullmatch(FACTORIES, factory):
        raise ConfigError(f"index.approximate: {factory!r} is not supported.", hint)
    try:
        index = faiss.index_factory(dim, factory)
    except RuntimeError as error:
        reason = str(error).rpartition(": ")[2]
        raise ConfigError(
            f"index.approximate: {factory} does not fit {dim}-d vectors: {reason}.", hint
        ) from None
    return index, faiss.extract_index_ivf(index)
