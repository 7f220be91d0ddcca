"""The store's own catalogue is damaged, altered or replaced: it is noticed and made again."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from indexer.config import Config
from indexer.errors import StoreCorrupt
from indexer.maintenance import prune, rollback, verify
from indexer.search import Searcher
from indexer.store import NewImage, Store, open_writer
from tests.conftest import Reindex, delete
from tests.stores import assert_like_a_clean_build, commit, damage, publish
from tests.work import counted

Damage = Callable[[Path], None]


def sql(statement: str) -> Damage:
    """Return what alters the catalogue by a statement, as somebody else's program could."""

    def alter(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(statement)

    alter.__name__ = statement
    return alter


def cut(length: int) -> Damage:
    return lambda path: os.truncate(path, length)


def flip(position: int) -> Damage:
    def alter(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[position] ^= 0x10
        path.write_bytes(content)

    return alter


def quietly(statement: str) -> Damage:
    """Alter it without its triggers, which would note what has changed."""
    script = (
        "CREATE TEMP TABLE was AS SELECT name, sql FROM sqlite_master WHERE type = 'trigger';"
        "DROP TRIGGER images_removed; DROP TRIGGER images_described;"
    )

    def alter(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(f"{script}{statement}")
            for (made,) in connection.execute("SELECT sql FROM was").fetchall():
                connection.execute(made)

    return alter


DAMAGES: dict[str, Damage] = {
    "cut to nothing": cut(0),
    "cut in the header": cut(50),
    "cut in half": cut(20_000),
    "the first bytes": flip(3),
    "the second page": flip(4096 + 3),
    "removed": lambda path: path.unlink(),
    "replaced by a text": lambda path: path.write_text("no database " * 1000),
    "digests": sql("UPDATE images SET sha256 = replace(sha256, 'a', 'b') WHERE id < 4"),
    "digests, quietly": quietly("UPDATE images SET sha256 = replace(sha256, 'a', 'b')"),
    "keys": sql("UPDATE images SET key = 'x' || key"),
    "keys, quietly": quietly("UPDATE images SET key = 'x' || key"),
    "sizes": sql("UPDATE images SET width = 1"),
    "metadata": sql("UPDATE images SET metadata = '{\"a\": 1}'"),
    "metadata that are no JSON": sql("UPDATE images SET metadata = '{'"),
    "times, quietly": quietly("UPDATE images SET mtime_ns = 5"),
    "values of another type": sql("UPDATE images SET key = x'ff'|| id, sha256 = 5"),
    "places": sql("UPDATE images SET row = -row - 1"),
    "swapped places": sql("UPDATE images SET row = 5 - row"),
    "a segment elsewhere": sql("UPDATE segments SET name = '../../x'"),
    "wrong counts": sql("UPDATE segments SET alive = alive + 1"),
    "removed, quietly": quietly("DELETE FROM images WHERE id = 2"),
    "added": sql(
        "UPDATE images SET id = 100 WHERE id = 1; "
        "INSERT INTO images (id, key, status, reason) VALUES (1, 'new', 'skipped', 'r')"
    ),
    "layers": sql("UPDATE layers SET record = '[]x'"),
    "layers elsewhere": sql("UPDATE layers SET record = replace(record, '00000001', '../../1')"),
    "ids that would be given again": sql("UPDATE sqlite_sequence SET seq = 0"),
    "no trigger": sql("DROP TRIGGER images_described"),
    "no table": sql("DROP TABLE runs"),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_is_found_by_verify_and_repaired_by_the_next_build(
    reindex: Reindex, config: Config, images: Path, tmp_path: Path, how: str
) -> None:
    (images / "bad.png").write_bytes(b"x")
    reindex()
    store = Store(config.store)
    before = list(store.open_published().catalogue.rows())
    DAMAGES[how](store.catalogue)
    verdict = verify(config)
    assert any("catalogue.sqlite" in problem for problem in verdict.problems)
    assert "makes the catalogue again" in verdict.hint
    report = reindex()
    assert (report.version, report.encoded) == ("00000001", 0)
    assert "was made again from version 00000001" in report.notes[0]
    assert list(store.open_published().catalogue.rows()) == before
    assert verify(config).problems == []
    new = images / "new.jpg"
    new.write_bytes(next(images.rglob("*/*.jpg")).read_bytes() + b"\0")
    report = reindex()
    assert (report.version, report.encoded, report.notes) == ("00000002", 1, [])
    assert {row.id for row in store.open_published().catalogue.rows()} == {*range(1, 8), 8}
    assert_like_a_clean_build(config, tmp_path)


def test_deleted_images_stay_deleted_and_their_ids_are_not_given_again(
    reindex: Reindex, config: Config, images: Path, tmp_path: Path
) -> None:
    reindex()
    first, second, *_ = sorted(images.rglob("*.jpg"))
    content = first.read_bytes()
    delete(first)
    second.write_bytes(second.read_bytes() + b"\0")
    reindex()
    Store(config.store).catalogue.unlink()
    assert reindex().version == "00000002"
    (images / "again.jpg").write_bytes(content)
    reindex()
    assert {row.id for row in Store(config.store).open_published().catalogue.rows()} == {
        3, 4, 5, 6, 7, 8,
    }  # fmt: skip
    assert_like_a_clean_build(config, tmp_path)


def test_what_a_build_has_committed_and_not_published_is_no_damage(published: Store) -> None:
    config = Config(store=published.folder)
    with open_writer(published) as writer:
        commit(writer, ["d", "e"], ["bad"])
        with writer.catalogue.transaction():
            writer.catalogue.remove(["a"])
            writer.catalogue.touch(NewImage("b", mtime_ns=99))
            writer.catalogue.update_metadata([("b", {"caption": "new"})])
        assert verify(config).problems == [], "while the build goes on"
    assert verify(config).problems == []
    with open_writer(published) as writer:
        assert writer.notes == []


def test_a_damaged_layer_is_not_blamed_on_the_catalogue(published: Store) -> None:
    layer = published.layers / "00000001.sqlite"
    with closing(sqlite3.connect(layer)) as connection:
        connection.execute("UPDATE images SET sha256 = 'cd'")
        connection.commit()
    assert [
        problem.split(" ")[0] for problem in verify(Config(store=published.folder)).problems
    ] == [str(layer)]
    with open_writer(published) as writer:
        assert writer.notes == []
        version = publish(writer)
    assert version.problems() == []
    assert version.catalogue.get(1).sha256 == "ab"  # type: ignore[union-attr]


def test_rollback_and_prune_need_no_sound_catalogue(published: Store) -> None:
    config = Config(store=published.folder)
    with open_writer(published) as writer:
        commit(writer, ["d"])
        publish(writer)
    published.catalogue.write_bytes(b"x" * 5000)
    assert rollback(config) == "00000001"
    published.catalogue.unlink()
    assert prune(config, 1) == []
    assert verify(config).problems == []


def test_a_catalogue_that_nothing_can_replace_is_an_error(published: Store) -> None:
    damage(published.layers / "00000001.sqlite")
    shutil.copy(published.catalogue, published.folder / "kept")
    published.catalogue.write_bytes(b"x" * 5000)
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match=r"catalogue\.sqlite cannot be opened"):
            open_writer(published).__enter__()
    assert published.catalogue.read_bytes() == b"x" * 5000, "it is not replaced"


def test_a_server_goes_on_with_a_published_version(reindex: Reindex, config: Config) -> None:
    """Which needs nothing of the store's own catalogue."""
    reindex()
    Store(config.store).catalogue.unlink()
    assert len(Searcher.open(config).search_id(1).hits) == 6


def test_only_a_catalogue_that_something_else_wrote_to_is_read_in_full(tmp_path: Path) -> None:
    """Opening a store for a build costs the same whatever its size, else what the size costs."""
    opening, checking = list[int](), list[int]()
    for count in (100, 400):
        store = Store(tmp_path / str(count))
        with open_writer(store) as writer:
            commit(writer, [f"{number}.jpg" for number in range(count)])
            publish(writer)
        with counted() as work, open_writer(store):
            pass
        opening.append(work.sql)
        os.utime(store.catalogue)
        with counted() as work, open_writer(store) as writer:
            assert writer.notes == []
        checking.append(work.sql)
        with counted() as work, open_writer(store):
            pass
        assert work.sql == pytest.approx(opening[-1], rel=0.2), "checked once"
    assert opening[1] < 1.3 * opening[0]
    assert checking[1] > 2 * checking[0]
