"""Evaluations equal those of trec_eval on independently computed rankings."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval

from indexer.analysis import Evaluation, evaluate
from indexer.cli.parser import main
from indexer.config import Config
from indexer.errors import ConfigError, InvalidQuery
from indexer.store import NewImage, Store, open_writer
from indexer.vector_index import flat_file
from indexer.vector_index.base import Vectors
from indexer.vector_index.opened import Indexes
from tests.conftest import ROOT
from tests.stores import DIM, publish
from tests.vectors import unit

COREL = ROOT.parent / "shared" / "corel1k"


def store_of(folder: Path, vectors: Vectors, tags: Sequence[object], **others: object) -> Config:
    """Publish images with tags; other fields have one value for all."""
    images = [
        NewImage(f"{n}.jpg", 1, 1, "0", "JPEG", 1, 1, {"tag": tag, "all": "same", **others})
        for n, tag in enumerate(tags)
    ]
    with open_writer(Store(folder)) as writer:
        dim = vectors.shape[1]
        writer.commit(images, flat_file(vectors), [], dim=dim, fingerprint="e1")
        if dim == DIM:
            publish(writer)
        else:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("tests.stores.DIM", dim)
                publish(writer)
    return Config(store=folder)


def trec_eval(config: Config, labels: Mapping[int, set[object]], k: int) -> dict[str, np.ndarray]:
    """Return the measures of all images that share a label, computed by trec_eval in float64."""
    vectors = Indexes.of(Store(config.store).open_published()).vectors
    ids = vectors.sorted_ids
    content = vectors.vectors(vectors.rows(ids)).astype(np.float64)
    relevance, rankings = {}, {}
    squares = (content**2).sum(axis=1)
    nearness = 2 * content @ content.T - squares - squares[:, np.newaxis]
    for own, near in zip(ids.tolist(), nearness.tolist(), strict=True):
        rankings[str(own)] = {
            str(i): value for i, value in zip(ids.tolist(), near, strict=True) if i != own
        }
        shared = {i: len(labels.get(own, set()) & labels.get(i, set())) for i in ids.tolist()}
        found = {str(i): n for i, n in shared.items() if n and i != own}
        if found:
            relevance[str(own)] = found
    measures = {f"P.{k}", f"recall.{k}", "map", f"ndcg_cut.{k}"}
    scores = pytrec_eval.RelevanceEvaluator(relevance, measures).evaluate(rankings)
    names = {
        f"P@{k}": f"P_{k}",
        f"R@{k}": f"recall_{k}",
        "mAP": "map",
        f"NDCG@{k}": f"ndcg_cut_{k}",
    }
    return {
        name: np.array([scores[query][other] for query in relevance])
        for name, other in names.items()
    }


def assert_like_trec_eval(
    found: Evaluation, config: Config, labels: Mapping[int, set[object]]
) -> None:
    expected = trec_eval(config, labels, found.k)
    assert found.queries == len(expected["mAP"])
    for score in found.scores:
        assert score.mean.value == pytest.approx(expected[score.name].mean(), abs=1e-6)
        assert score.mean.low <= score.mean.value <= score.mean.high


def test_folders_of_photographs_are_evaluated_as_trec_eval_does(demo_config: Config) -> None:
    catalogue = Store(demo_config.store).open_published().catalogue
    labels = {row.id: {row.key.split("/")[0]} for row in catalogue.rows("indexed")}
    found = evaluate(demo_config)
    assert_like_trec_eval(found, demo_config, labels)
    assert (found.by, found.k, found.images) == ("folder", 10, 40)
    assert all(score.mean.value > score.chance for score in found.scores)
    assert {one.label for one in found.labels} <= {name for one in labels.values() for name in one}
    assert found.approximate is not None
    assert found.approximate.recall == pytest.approx(1)


def test_images_with_several_labels_are_graded_by_how_many_they_share(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    tags = [sorted(map(str, random.choice(9, random.integers(0, 5), False))) for _ in range(150)]
    config = store_of(tmp_path, unit(random.normal(size=(150, DIM))), tags)
    labels = {n: {*some} for n, some in enumerate(tags, 1)}
    found = evaluate(config, by="tag", k=7)
    assert_like_trec_eval(found, config, labels)
    expected = trec_eval(config, labels, 7)["mAP"]
    asked = [n for n, some in labels.items() if some]
    of_label = {
        label: np.mean(
            [score for n, score in zip(asked, expected, strict=True) if label in labels[n]]
        )
        for label in {*"012345678"}
    }
    assert {one.label: one.means["mAP"] for one in found.labels} == pytest.approx(of_label)
    assert found.scores[2].per_label.value == pytest.approx(np.mean([*of_label.values()]))
    for label in of_label:
        others = {n: {*some} & {label} for n, some in enumerate(tags, 1)}
        own = trec_eval(config, others, 7)["mAP"].mean()
        assert [one.own for one in found.labels if one.label == label] == pytest.approx([own])
    assert found.own.value == pytest.approx(np.mean([one.own for one in found.labels]))
    assert found.own.low < found.own.value < found.own.high
    assert {one.label: one.images for one in found.labels} == {
        label: sum(label in some for some in tags) for label in of_label
    }


def test_some_images_are_asked_for_some_others(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(6).normal(size=(60, DIM)))
    config = store_of(tmp_path, vectors, [n % 3 for n in range(60)])
    found = evaluate(config, by="tag", queries=["key=0.jpg,1.jpg"], among=["tag!=1"])
    assert (found.queries, found.images, found.alone, found.possible) == (1, 40, 1, 2)
    others = [n for n in range(60) if n % 3 != 1 and n]
    order = sorted(others, key=lambda n: float(np.linalg.norm(vectors[n] - vectors[0])))
    assert found.scores[0].mean.value == np.mean([n % 3 == 0 for n in order[:10]])
    assert "1 share theirs with no image" in found.note


def test_of_many_images_a_sample_is_asked_always_the_same(tmp_path: Path) -> None:
    config = store_of(
        tmp_path, unit(np.random.default_rng(7).normal(size=(90, DIM))), ["a", "b"] * 45
    )
    found = evaluate(config, by="tag", sample=30)
    assert (found.queries, found.possible, found.images) == (30, 90, 90)
    assert "30 images of 90, chosen at random" in found.note
    assert evaluate(config, by="tag", sample=30) == found
    assert "chosen at random" not in evaluate(config, by="tag", sample=90).note


def test_fields_that_tell_nothing_are_refused(tmp_path: Path) -> None:
    config = store_of(tmp_path, unit(np.random.default_rng(8).normal(size=(5, DIM))), "abcde")
    with pytest.raises(InvalidQuery, match="lie in one folder") as caught:
        evaluate(config)
    assert "--by FIELD" in caught.value.hint
    with pytest.raises(InvalidQuery, match="No image shares its tag"):
        evaluate(config, by="tag")
    with pytest.raises(InvalidQuery, match="field colour"):
        evaluate(config, by="colour")
    assert evaluate(config, by="all").scores[0].chance == pytest.approx(0.4)
    for k in (0, 10_001):
        with pytest.raises(ConfigError, match="--k"):
            evaluate(config, by="all", k=k)
    with pytest.raises(ConfigError, match="--sample is 0"):
        evaluate(config, by="all", sample=0)


@pytest.mark.skipif(not COREL.is_dir(), reason=f"{COREL}, a benchmark, is not at hand")
def test_published_features_of_vgg16_reach_what_others_measured(tmp_path: Path) -> None:
    content = np.load(COREL / "vgg16_fc1.npz")
    labels = content["labels"].tolist()
    config = store_of(tmp_path, content["features"], labels)
    found = evaluate(config, by="tag")
    assert_like_trec_eval(found, config, {n: {label} for n, label in enumerate(labels, 1)})
    precision, _, mean_average_precision, _ = (score.mean.value for score in found.scores)
    assert (round(precision, 3), round(mean_average_precision, 3)) == (0.944, 0.840)


def test_the_command_line(demo_config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    store = f"--store={demo_config.store}"
    assert main(["evaluate", store, "--k", "5"]) == 0
    text = capsys.readouterr().out
    assert "efficientnet_lite0 avg_pool" in text
    assert "Approximate search finds 100.00 % of the 5 nearest" in text
    assert main(["evaluate", store, "--markdown", "--by", "format"]) == 0
    assert "| NDCG@10 | 1.0000 (1.0000 to 1.0000) | 1.0000 |" in capsys.readouterr().out
    assert main(["evaluate", store, "--json", "--queries", "folder=fish"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {one["label"] for one in report["labels"]} == {"fish"}
    assert report["scores"][2]["name"] == "mAP"
    assert main(["evaluate", store, "--by", "nothing"]) == 1
    assert "No image has a field nothing." in capsys.readouterr().err
