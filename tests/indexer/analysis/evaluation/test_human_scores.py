"""How well distances agree with people's scores of pairs."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from indexer.analysis import compare_scores
from indexer.analysis.evaluation.human_scores import ranks, read_pairs, spearman
from indexer.cli.parser import main
from indexer.config import Config
from indexer.errors import InvalidQuery
from indexer.store import NewImage, Store, open_writer
from indexer.vector_index import flat_file
from indexer.vector_index.opened import map_vectors
from tests.stores import DIM, publish
from tests.vectors import unit


def counted_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks as the definition says: how many are less, and half of the others that are equal."""
    less = (values < values[:, np.newaxis]).sum(axis=1)
    equal = (values == values[:, np.newaxis]).sum(axis=1)
    return less + (equal + 1) / 2


def cosines(config: Config) -> list[tuple[str, str, float]]:
    """Return the cosines of all pairs of photographs, in float64."""
    version = Store(config.store).open_published()
    vectors = map_vectors(version)
    ids = vectors.sorted_ids
    content = vectors.vectors(vectors.rows(ids)).astype(np.float64)
    keys = version.catalogue.keys(ids.tolist())
    return [
        (keys[ids[a]], keys[ids[b]], float(content[a] @ content[b]))
        for a, b in combinations(range(len(ids)), 2)
    ]


def written(path: Path, lines: list[tuple[str, str, float]], head: str = "") -> Path:
    path.write_text(head + "".join(f'"{a}","{b}",{score}\n' for a, b, score in lines))
    return path


@pytest.mark.parametrize("distinct", [1000, 5])
def test_rho_is_the_correlation_of_ranks_that_were_counted(distinct: int) -> None:
    random = np.random.default_rng(distinct)
    values, noise = random.normal(size=200), random.normal(size=200)
    scores = np.round((values + noise) * distinct) / distinct
    assert ranks(scores).tolist() == counted_ranks(scores).tolist()
    (rho,) = spearman(values[np.newaxis], scores)
    expected = np.corrcoef(counted_ranks(values), counted_ranks(scores))[0, 1]
    assert rho.value == pytest.approx(expected)
    assert rho.low < rho.value < rho.high
    assert spearman(values[np.newaxis], scores) == [rho]
    half = 1.96 * (1 - expected**2) / np.sqrt(200)
    assert (rho.high - rho.low) / 2 == pytest.approx(half, rel=0.4)


def test_scores_in_the_order_of_cosines_agree_entirely(demo_config: Config, tmp_path: Path) -> None:
    pairs = cosines(demo_config)[:60]
    found = compare_scores(demo_config, written(tmp_path / "a.csv", pairs, "first,second,score\n"))
    assert found.pairs == 60
    assert found.rho == pytest.approx((1, 1, 1))
    opposite = [(a, b, -(score**3)) for a, b, score in pairs]
    found = compare_scores(demo_config, written(tmp_path / "b.csv", opposite))
    assert found.rho.value == pytest.approx(-1)
    assert not found.notes


def test_pairs_of_unknown_images_are_left_out_and_named(
    demo_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = cosines(demo_config)[:10]
    lost = [("gone.jpg", pairs[0][0], 1.0), ("gone.jpg", "\x1b.jpg", 2.0)]
    path = written(tmp_path / "a.csv", [*lost, *pairs])
    store = f"--store={demo_config.store}"
    assert main(["evaluate", store, "--pairs", str(path)]) == 0
    text = capsys.readouterr().out
    assert "efficientnet_lite0 avg_pool  +1.0000 (+1.0000 to +1.0000)" in text
    assert "2 pairs were left out: the index has no images with these 2 keys: gone.jpg, " in text
    assert "\\x1b.jpg" in text
    assert main(["evaluate", store, "--pairs", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pairs"], found["left_out"], found["unknown"]) == (10, 2, 2)
    assert found["rho"].keys() == {"value", "low", "high"}
    assert main(["evaluate", store, "--pairs", str(path), "--by", "folder"]) == 1
    assert "--by is about labels" in capsys.readouterr().err


def test_stores_are_compared_over_the_pairs_that_all_have(
    demo_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = Store(demo_config.store).open_published()
    rows = [*version.catalogue.rows("indexed")][:12]
    random = np.random.default_rng(4)
    images = [NewImage(row.key, 1, 1, row.sha256, "JPEG", 1, 1) for row in rows]
    with open_writer(Store(tmp_path / "random")) as writer:
        vectors = unit(random.normal(size=(12, DIM)))
        writer.commit(images, flat_file(vectors), [], dim=DIM, fingerprint="e1")
        publish(writer)
    everything = cosines(demo_config)
    there = {row.key for row in rows}
    known = [pair for pair in everything if {*pair[:2]} <= there]
    path = written(tmp_path / "a.csv", everything)
    found = compare_scores(demo_config, path, [tmp_path / "random"])
    assert (found.pairs, found.left_out) == (66, len(everything) - 66)
    assert found.rho.value == pytest.approx(1)
    (beside,) = found.beside
    places = {row.key: n for n, row in enumerate(rows)}
    own = np.array([vectors[places[a]] @ vectors[places[b]] for a, b, _ in known])
    expected = np.corrcoef(counted_ranks(own), counted_ranks(np.array([s for *_, s in known])))
    assert beside.rho.value == pytest.approx(expected[0, 1], abs=1e-3)
    assert beside.difference.value == pytest.approx(beside.rho.value - 1)
    assert beside.difference.low < beside.difference.value < beside.difference.high < 0
    command = ["evaluate", f"--store={demo_config.store}", f"--pairs={path}"]
    assert main([*command, f"--beside={tmp_path / 'random'}", "--markdown"]) == 0
    text = capsys.readouterr().out
    assert "| random: test None | " in text
    assert "not all indexes have images with these 28 keys" in text


def test_many_unknown_keys_are_counted(demo_config: Config, tmp_path: Path) -> None:
    pairs = cosines(demo_config)[:3]
    lost = [(f"{n}.jpg", pairs[0][0], 1.0) for n in range(25)]
    (note,) = compare_scores(demo_config, written(tmp_path / "a.csv", [*pairs, *lost])).notes
    assert note.startswith("25 pairs were left out")
    assert note.endswith("19.jpg and 5 more")
    with pytest.raises(InvalidQuery, match="both images of 2 of the 27 pairs") as caught:
        compare_scores(demo_config, written(tmp_path / "b.csv", [*pairs[:2], *lost]))
    assert "0.jpg, 1.jpg, 2.jpg" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["a,b,1\nc,d,-2.5e1\n", "x,y,z\na,b,1\n\nc,d,-25\n", "a;b;1\r\nc;d;-25", "a\tb\t1\nc\td\t-25"],
)
def test_files_of_pairs_may_have_a_header_and_other_delimiters(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_pairs(tmp_path / "a.csv") == [("a", "b", 1), ("c", "d", -25)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a,b,1\nc,d\n", "line 2: 'c,d'"),
        (b"a,b,1\nc,d,much\n", "line 2: 'c,d,much'"),
        (b"a,b,1\nc,d,nan\n", "line 2"),
        (b"a,b,1,2\nc,d,1,2\n", "line 2"),
        (b'a,b,1\n"c,d,1\n', "unexpected end"),
        (b"a,b,1\n\xff,d,1\n", "not valid UTF-8"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InvalidQuery, match=problem) as caught:
        read_pairs(tmp_path / "a.csv")
    assert "two keys and a number" in caught.value.hint


def test_equal_scores_tell_nothing(demo_config: Config, tmp_path: Path) -> None:
    pairs = [(a, b, 1.0) for a, b, _ in cosines(demo_config)[:5]]
    with pytest.raises(InvalidQuery, match="All scores of the 5 pairs are equal"):
        compare_scores(demo_config, written(tmp_path / "a.csv", pairs))
