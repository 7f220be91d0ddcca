"""The approximate indexes that can be configured: FAISS factory strings, and ``auto``."""

import re

import faiss

from indexer.errors import ConfigError

AUTO = "auto"

FACTORIES = (
    r"((OPQ\d+(_\d+)?|PCAR?\d+|RR\d+),)?"  # an optional rotation
    r"IVF\d+,(Flat|SQ4|SQ6|SQ8|SQfp16|PQ\d+)"  # lists, and what they hold of each vector
)
"""The factory strings that are accepted; the contract tests cover each form."""

FEWEST_COMPONENTS = 256
"""``auto`` keeps at least this many principal coordinates, of one byte each."""

VECTORS_PER_LIST = 39
"""FAISS warns if there are fewer training vectors per list."""


def resolve_factory(setting: str, dim: int, count: int) -> str:
    """Return the factory string that ``index.approximate`` stands for with ``count`` vectors.

    For ``auto`` it is the largest choice. Raises :class:`ConfigError` for one that is not supported
    or cannot be trained on so few vectors.
    """
    if setting == AUTO:
        return automatic_factory(dim, count, dim)
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


def automatic_components(dim: int) -> list[int]:
    """Return the numbers of principal coordinates that ``auto`` chooses from, ascending."""
    components = min(FEWEST_COMPONENTS, max(dim // 4, 1))
    options = [components * 2**n for n in range(dim.bit_length())]
    return [*(option for option in options if option < dim), dim]


def automatic_factory(dim: int, count: int, components: int) -> str:
    """Return the factory string of ``auto`` for ``count`` vectors with this many coordinates."""
    lists = max(1, min(round(2 * count**0.5), count // VECTORS_PER_LIST))
    return f"PCA{components},IVF{lists},SQ8" if components < dim else f"IVF{lists},SQ8"


def code_size(setting: str, dim: int, count: int) -> int:
    """Return the most bytes per vector that the index of a setting stores."""
    factory = resolve_factory(AUTO, dim, count) if setting == AUTO else setting
    return int(new_index(factory, dim)[1].code_size)


def new_index(factory: str, dim: int) -> tuple[faiss.Index, faiss.IndexIVF]:
    """Make an untrained index and return its inverted lists with it. Raises ConfigError."""
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
