"""A few hundred image files: formats, modes, depths, orientations, layouts and damage.

Nearly all are written with known pixels, which do not depend on any decoder.
"""

from tests.indexer.images.matrix.damaged_files import damaged, orientations
from tests.indexer.images.matrix.other_files import bmps, gifs, heifs, jpegs, webps_and_avifs
from tests.indexer.images.matrix.png_files import pngs
from tests.indexer.images.matrix.scene import File
from tests.indexer.images.matrix.tiff_files import tiffs


def files() -> list[File]:
    """Return all files; their names are unique."""
    made = [*pngs(), *tiffs(), *bmps(), *gifs(), *jpegs(), *webps_and_avifs(), *heifs()]
    made += orientations()
    made += damaged({file.name: file for file in made})
    assert len({file.name for file in made}) == len(made)
    return made
