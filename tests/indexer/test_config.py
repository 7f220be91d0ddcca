"""config.yaml, environment variables and flags."""

import os
from pathlib import Path

import pytest
import yaml

from indexer.config import Config, DatasetConfig, load_config
from indexer.errors import ConfigError
from tests.conftest import ROOT


def test_config_yaml_lists_every_setting_with_its_default(tmp_path: Path) -> None:
    written = yaml.safe_load((ROOT / "config.yaml").read_text())
    defaults = Config().model_dump(mode="json")
    defaults["dataset"]["root"], defaults["store"] = "data/images", "var/store"
    assert written == defaults


def test_the_last_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("search: {k: 3, max_k: 7}\nserver: {port: 9001}\n")
    monkeypatch.setenv("LOOKALIKE_SEARCH__K", "4")
    config = load_config(file, {"server": {"port": 9002}})
    assert (config.search.k, config.search.max_k, config.server.port) == (4, 7, 9002)


def test_paths_in_the_file_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("store: ../s\ndataset: {root: photos}\nencoder: {weights: w.h5}\n")
    config = load_config(file)
    assert config.store == tmp_path.parent / "s"
    assert config.dataset.root == tmp_path / "photos"
    assert config.encoder.weights == str(tmp_path / "w.h5")


def test_several_roots_are_resolved_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("dataset: {root: [photos, /mnt/scans]}\n")
    assert load_config(file).dataset.roots == (tmp_path / "photos", Path("/mnt/scans"))
    file.write_text("dataset: {kind: coco, root: photos, annotations: a.json}\n")
    assert load_config(file).dataset.annotations == tmp_path / "a.json"
    file.write_text("dataset: {kind: coco, root: photos, annotations: [a.json, /b.json]}\n")
    dataset = load_config(file).dataset
    assert dataset.annotation_files == (tmp_path / "a.json", Path("/b.json"))
    assert DatasetConfig.model_validate_json(dataset.model_dump_json()) == dataset
    file.write_text("dataset: {metadata: t.csv}\n")
    assert load_config(file).dataset.metadata == tmp_path / "t.csv"


def test_several_roots_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_DATASET__ROOT", '["/one", "/two"]')
    assert load_config().dataset.roots == (Path("/one"), Path("/two"))
    monkeypatch.setenv("LOOKALIKE_DATASET__ROOT", "/one")
    assert load_config().dataset.roots == (Path("/one"),)


def test_paths_in_flags_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(None, {"store": "s", "encoder": {"weights": "w.h5"}})
    assert config.store == tmp_path / "s"
    assert config.encoder.weights == str(tmp_path / "w.h5")


@pytest.mark.parametrize("weights", ["imagenet", "random:3"])
def test_weights_that_are_no_path_stay_as_they_are(tmp_path: Path, weights: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"encoder: {{weights: '{weights}'}}\n")
    assert load_config(file).encoder.weights == weights


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("serch: {k: 3}", "serch"),
        ("search: {kk: 3}", "search.kk"),
        ("search: {k: many}", "search.k"),
        ("search: {k: 0}", "search.k"),
        ("search: {backend: spark}", "search.backend: Input should be 'local' or 'ray'"),
        ("{search: {backend: ray}, index: {resident: true}}", "index.resident is true, but"),
        ("search: {address: head}", "search.address"),
        ("search: {shards: 0}", "search.shards"),
        ("search: {shards: 1001}", "search.shards"),
        ("search: {replicas: 0}", "search.replicas"),
        ("search: {replicas: 11}", "search.replicas"),
        ("server: {port: 70000}", "server.port"),
        ("server: {url_query_ports: [443, 0]}", "server.url_query_ports"),
        ("server: {url_query_ports: 443}", "server.url_query_ports"),
        ("encoder: {model: resnet}", "encoder.model"),
        ("executor: {kind: dask}", "executor.kind: Input should be 'local' or 'ray'"),
        ("executor: {workers: 0}", "executor.workers"),
        ("executor: {workers: many}", "executor.workers"),
        ("executor: {address: 10.0.0.1}", "executor.address"),
        ("executor: {address: 'ray://10.0.0.1:10001'}", "executor.address"),
        ("search: {k: 50, max_k: 10}", "more than max_k"),
        ("search: {mode: approximate}", "index.approximate is null"),
        ("dataset: 5", "dataset"),
        ("dataset: {kind: ftp}", "dataset.kind"),
        ("dataset: {root: []}", "dataset.root: Tuple should have at least 1 item"),
        ("dataset: {root: [a, 5]}", "dataset.root.1: Input is not a valid path"),
        ("dataset: {kind: coco}", "dataset.annotations is null"),
        ("dataset: {items: boxes}", "dataset.items is boxes, but dataset.kind is folder, not coco"),
        ("dataset: {items: box}", "dataset.items: Input should be 'images' or 'boxes'"),
        ("dataset: {box_margin: -0.1}", "dataset.box_margin"),
        ("dataset: {box_margin: 1.1}", "dataset.box_margin"),
        ("dataset: {box_min_side: 0}", "dataset.box_min_side"),
        ("dataset: {kind: coco, annotations: []}", "dataset.annotations: Tuple should have"),
        ("dataset: {kind: coco, annotations: [a, 5]}", "dataset.annotations.1: Input is not a"),
        ("dataset: {exclude: ['a', '']}", "dataset.exclude.1"),
        ("dataset: {exclude: ['/']}", "dataset.exclude.0"),
        ("dataset: {exclude: raw}", "dataset.exclude"),
        ("dataset: {follow_links: sometimes}", "dataset.follow_links"),
        ("dataset: {gps: sometimes}", "dataset.gps"),
        ("dataset: {metadata: 5}", "dataset.metadata"),
        ("dataset: {kind: tar, annotations: a.json}", "dataset.annotations is given"),
        ("dataset: {kind: list, root: [a.txt, b.txt]}", "takes one dataset.root"),
        ("a: [", "cannot be read"),
        ("- a\n- b", "cannot be read"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str, name: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert name in caught.value.message
    assert str(file) in caught.value.hint


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_of_windows_is_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes("# é\r\nstore: é\r\n".encode(encoding))
    assert load_config(file).store == tmp_path / "é"


@pytest.mark.parametrize(
    ("encoding", "problem"),
    [("utf-16-le", "UTF-16 without a byte order mark"), ("latin-1", "not valid UTF-8 at byte 2")],
)
def test_a_file_in_another_encoding_is_refused(tmp_path: Path, encoding: str, problem: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes("# é\nsearch: {k: 3}\n".encode(encoding))
    with pytest.raises(ConfigError, match=problem):
        load_config(file)


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("")
    assert load_config(file).search == Config().search


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "nothing.yaml")


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("LOOKALIKE_SERVR__PORT", "LOOKALIKE_SERVR__PORT"),
        ("LOOKALIKE_SERVER__PRT", "server.prt"),
        ("LOOKALIKE_SERVER_PORT", "LOOKALIKE_SERVER_PORT"),
        ("LOOKALIKE_PORT", "LOOKALIKE_PORT"),
        ("LOOKALIKE_STOER", "LOOKALIKE_STOER"),
        ("LOOKALIKE_SERVICE", "LOOKALIKE_SERVICE"),
    ],
)
def test_a_misspelt_variable_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, named: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=named):
        load_config()


@pytest.mark.parametrize(
    "variable",
    [
        *(
            f"{service}_{variable}"
            for service in ("LOOKALIKE", "LOOKALIKE_SERVER", "LOOKALIKE_STORE", "LOOKALIKE__2")
            for variable in (
                "PORT=tcp://10.0.0.1:80",
                "SERVICE_HOST=10.0.0.1",
                "SERVICE_PORT=80",
                "SERVICE_PORT_HTTP_ALT=8080",
                "PORT_8000_TCP=tcp://10.0.0.1:8000",
                "PORT_8000_TCP_ADDR=fd00::1",
                "PORT_53_UDP_PORT=53",
                "PORT_53_UDP_PROTO=udp",
            )
        ),
        "LOOKALIKE_NAME=/web/lookalike",
        "LOOKALIKE_1_PORT=tcp://172.17.0.5:8000",
        "LOOKALIKE_ENV_PATH=/bin",
        "LOOKALIKE_ENV_LOOKALIKE_SERVER__PORT=9000",
    ],
)
def test_what_an_orchestrator_injects_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Kubernetes for a service called lookalike or lookalike-server, and links of Docker."""
    monkeypatch.setenv("LOOKALIKE_SEARCH__K", "7")
    before = load_config().model_dump()
    monkeypatch.setenv(*variable.split("=", 1))
    assert load_config().model_dump() == before


def test_without_a_file_the_store_is_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same from every folder; what is said otherwise still wins."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert load_config().store == tmp_path / "data" / "lookalike" / "store"
    monkeypatch.setenv("LOOKALIKE_STORE", "elsewhere")
    assert load_config().store == tmp_path / "elsewhere"
    assert load_config(None, {"store": "s"}).store == tmp_path / "s"
    monkeypatch.delenv("LOOKALIKE_STORE")
    (tmp_path / "config.yaml").write_text("search: {k: 3}\n")
    assert load_config().store == tmp_path / "var" / "store"


def test_a_user_without_a_home_folder_gets_the_default_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under an unknown user id."""
    (tmp_path / "settings.yaml").write_text("store: s\n")
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 2)
    with pytest.raises(RuntimeError):
        Path.home()
    assert load_config().store == tmp_path / "var" / "store"
    assert load_config(Path("settings.yaml")).store == tmp_path / "s"
