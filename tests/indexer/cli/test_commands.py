"""The command line as a person or a script uses it: real processes, real exit statuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from indexer import __version__
from indexer.cli.parser import _parser, flags_of, main
from indexer.config import Config, load_config
from tests.conftest import ROOT, delete
from tests.processes import started
from tests.stores import damage
from tests.waiting import eventually


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "indexer", *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT, **options,
    )  # fmt: skip


@pytest.fixture
def store(demo_config: Config) -> str:
    return f"--store={demo_config.store}"


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from indexer.cli.parser import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'keras', 'tensorflow', 'faiss', 'PIL', 'pydantic'}\n"
        "heavy &= sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "build" in done.stdout


def test_status_and_verify_do_not_load_keras(store: str) -> None:
    for verb in ("status", "verify"):
        script = (
            f"import sys; from indexer.cli.parser import main; code = main([{verb!r}, {store!r}]); "
            "assert code == 0 and not {'keras', 'tensorflow'} & sys.modules.keys()"
        )
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["search"], ["search", "a.jpg", "--text", "dog"], ["build", "--nonsense"]],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_a_failure_exits_with_1_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--store", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"Error: There is no index in {tmp_path} yet.\nMake one with:")


def test_build_search_status_verify(images: Path, tmp_path: Path) -> None:
    flags = ["--store", str(tmp_path / "s")]
    done = run("build", "--images", str(images), "--encoder", "efficientnet_lite0", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("found 6 = indexed 6 + skipped 0 in ")
    photo = next(images.rglob("*.jpg"))
    done = run("search", str(photo), "--k", "3", *flags)
    first, *_, last = done.stdout.splitlines()
    assert first.split() == ["1", "0.0000", str(photo.relative_to(images))]
    assert last.startswith("3 results, exact, encoder efficientnet_lite0")
    done = run("search", str(photo), "--filter", "width>=1", "--facets", "format", *flags)
    assert "format: JPEG 6" in done.stdout.splitlines()
    done = run("search", str(photo), "--filter", "colour=red", *flags)
    assert (done.returncode, done.stdout) == (1, "")
    assert "No image has a field colour.\nFields: " in done.stderr
    done = run("status", "--fields", *flags)
    assert "width  number, 6 images" in done.stdout.splitlines()
    assert "found      6 = indexed 6 + skipped 0" in done.stdout
    assert "last run   found 6" in done.stdout
    done = run("verify", *flags)
    assert "is sound: 6 images" in done.stdout


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        (["--images=p"], "folder"),
        (["--images=p.txt"], "list"),
        (["--images=p.TAR"], "tar"),
        (["--images=p.parquet"], "parquet"),
        (["--images=p", "--annotations=a.json"], "coco"),
    ],
)
def test_flags_that_name_the_images_say_what_kind_they_are(flags: list[str], kind: str) -> None:
    assert load_config(None, flags_of(_parser().parse_args(["build", *flags]))).dataset.kind == kind


@pytest.mark.parametrize(
    ("flags", "kind", "roots"),
    [
        (["/p"], "folder", ("/p",)),
        (["/p", "/q"], "folder", ("/p", "/q")),
        (["/p.tar", "/q.TAR"], "tar", ("/p.tar", "/q.TAR")),
        (["/p.parquet", "/q.Parquet"], "parquet", ("/p.parquet", "/q.Parquet")),
        (["/p.txt"], "list", ("/p.txt",)),
        (["/p", "--annotations=/a.json"], "coco", ("/p",)),
        (["--annotations", "/a.json", "/p"], "coco", ("/p",)),
    ],
)
@pytest.mark.parametrize("verb", ["index", "build", "plan"])
def test_paths_name_the_images_as_well(
    verb: str, flags: list[str], kind: str, roots: tuple[str, ...]
) -> None:
    dataset = load_config(None, flags_of(_parser().parse_args([verb, *flags]))).dataset
    assert (dataset.kind, tuple(map(str, dataset.roots))) == (kind, roots)


def test_paths_and_images_are_not_both_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["index", "p", "--images=q"])
    assert caught.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_second_folder_in_the_same_store_is_announced(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its images take the place of the first one's, if they have some names in common."""
    flags = ["--encoder=efficientnet_lite0", f"--store={tmp_path / 's'}"]
    assert main(["index", str(images), *flags]) == 0
    captured = capsys.readouterr()
    assert "holds the images" not in captured.err
    assert f"store   {tmp_path / 's'}" in captured.out
    other = tmp_path / "other"
    shutil.copytree(images, other)
    next(other.rglob("*.jpg")).unlink()
    assert main(["index", str(other), *flags]) == 0
    captured = capsys.readouterr()
    assert f"holds the images of {images}; it will hold those of {other}." in captured.err
    assert "--store FOLDER" in captured.err
    assert captured.out.splitlines()[-1].startswith("found 5 = ")
    assert main(["rollback", flags[1]]) == 0
    assert main(["status", flags[1]]) == 0
    assert "found      6 = " in capsys.readouterr().out


def test_a_second_index_repeats_the_first(
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a configuration file the images, the encoder and the index are as they were."""
    monkeypatch.chdir(tmp_path)
    store = f"--store={tmp_path / 's'}"
    monkeypatch.setenv("LOOKALIKE_INDEX__APPROXIMATE", "IVF1,SQ8")
    assert main(["index", str(images), "--encoder=efficientnet_lite0", store]) == 0
    monkeypatch.delenv("LOOKALIKE_INDEX__APPROXIMATE")
    delete(next(images.rglob("*.jpg")))
    assert main(["index", store, "--dry-run"]) == 0
    assert "0 new, 0 changed, 0 retried, 1 removed" in capsys.readouterr().out
    assert main(["plan", store]) == 0
    assert main(["index", store]) == 0
    assert "found 5 = indexed 5" in capsys.readouterr().out
    assert main(["status", store]) == 0
    assert "approximate, IVF1,SQ8" in capsys.readouterr().out
    monkeypatch.setenv("LOOKALIKE_DATASET__ROOT", str(tmp_path / "nothing"))
    assert main(["index", store]) == 1
    assert f"{tmp_path / 'nothing'} does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["index", "plan"])
def test_a_missing_folder_is_told_before_weights_are_downloaded(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert main([verb, str(tmp_path / "nothing"), f"--store={tmp_path / 's'}"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f"Error: The image folder {tmp_path / 'nothing'} does not exist.")


def test_export(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export = ["export", "--to", "npy", str(tmp_path / "out"), store]
    assert main(export) == 0
    assert "exported 40 vectors of dimension 1280 to" in capsys.readouterr().out
    assert main(export) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["export", "--to=faiss", str(tmp_path / "out.faiss"), store, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["format"], done["images"], done["dim"]) == ("faiss", 40, 1280)


def test_a_configured_kind_holds_for_a_folder_named_in_a_flag(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("dataset: {kind: tar, root: shards}\n")
    flags = flags_of(_parser().parse_args(["build", "--images=/other"]))
    dataset = load_config(tmp_path / "config.yaml", flags).dataset
    assert (dataset.kind, dataset.roots) == ("tar", (Path("/other"),))


def test_an_annotation_file_named_as_images_is_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["build", "--images=coco.json"]) == 1
    assert "ANNOTATIONS=" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["index", "build", "plan"])
@pytest.mark.parametrize("files", [("/a.json",), ("/a.json", "/b.json")])
def test_annotation_files_are_named_one_by_one(verb: str, files: tuple[str, ...]) -> None:
    flags = [f"--annotations={file}" for file in files]
    dataset = load_config(None, flags_of(_parser().parse_args([verb, "/p", *flags]))).dataset
    assert (dataset.kind, tuple(map(str, dataset.annotation_files))) == ("coco", files)


@pytest.mark.parametrize("verb", ["index", "build", "plan"])
def test_flags_name_the_table_and_decide_about_positions(verb: str) -> None:
    flags = flags_of(_parser().parse_args([verb, "/p", "--metadata=/t.csv", "--gps"]))
    dataset = load_config(None, flags).dataset
    assert (dataset.kind, dataset.metadata, dataset.gps) == ("folder", Path("/t.csv"), True)
    flags = flags_of(_parser().parse_args([verb, "--no-gps"]))
    assert flags == {"dataset": {"gps": False}}


def test_make_takes_several_annotation_files_and_names_with_spaces() -> None:
    variables = ["IMAGES=my images", "ANNOTATIONS=my a.json,b.json", "METADATA=my t.csv"]
    done = subprocess.run(
        ["make", "-n", "index", *variables],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert '--images "my images" --annotations "my a.json" --annotations "b.json"' in done.stdout
    assert '--metadata "my t.csv"' in done.stdout


def test_json_for_machines(
    store: str, photos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(photos[0]), store, "--json", "--k=2"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [result["rank"] for result in answer["results"]] == [1, 2]
    assert main(["status", store, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["counts"] == {"found": 41, "indexed": 40, "skipped": 1}
    assert status["skipped"][0]["key"] == "broken.jpg"
    assert main(["verify", store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []


def test_images_are_found_by_words(
    captioned_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["search", "--store", str(captioned_config.store), "--k", "3", "--text"]
    assert main([*search, "surf board"]) == 0
    *hits, summary, total = capsys.readouterr().out.splitlines()
    assert {hit.split()[-1] for hit in hits} >= {"00.jpg", "02.jpg"}
    assert summary == "2 captions of 2 images say so; these look like them."
    assert total.startswith("3 results, exact, encoder efficientnet_lite0")
    assert main([*search, "cat"]) == 1
    assert capsys.readouterr().err.startswith("Error: No text of an image says cat.\nTry fewer")


def test_skipped_files_are_listed_with_their_reasons(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", store, "--skipped"]) == 0
    assert "broken.jpg\tdecode\tinvalid_image\t" in capsys.readouterr().out


def test_verify_finds_damage(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"--store={tmp_path / 's'}"
    assert main(["build", f"--images={images}", "--encoder=efficientnet_lite0", store]) == 0
    (vectors,) = (tmp_path / "s").rglob("vectors.faiss")
    damage(vectors)
    assert main(["verify", store]) == 1
    assert "vectors.faiss is damaged" in capsys.readouterr().out


def test_a_store_that_cannot_be_written_is_explained(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    arguments = [f"--images={images}", "--encoder=efficientnet_lite0"]
    assert main(["build", *arguments, f"--store={tmp_path / 'file' / 's'}"]) == 1
    assert "Not a directory" in capsys.readouterr().err


def test_names_in_notes_and_errors_do_not_drive_the_terminal(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "out"
    outside.mkdir()
    (outside / "broken.jpg").touch()
    (images / "a\x1b[2J").symlink_to(outside)
    (images / "b\n.x\x1b[31m").touch()
    arguments = ["index", str(images), "--encoder=efficientnet_lite0", f"--store={tmp_path / 's'}"]
    assert main(arguments) == 1
    assert main([*arguments, "--no-follow-links"]) == 0
    assert main([*arguments, "--follow-links"]) == 0
    printed = "".join(capsys.readouterr())
    assert printed.count("a\\x1b[2J") == 3
    assert "passed over: .x\\x1b[31m 1" in printed
    assert "\x1b[2J" not in printed
    assert "\x1b[31m" not in printed


def test_a_query_that_cannot_be_read_is_explained(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(tmp_path / "nothing.jpg"), store]) == 1
    assert "nothing.jpg cannot be read: No such file" in capsys.readouterr().err


def test_the_limit_of_a_query_is_that_of_ones_own_files(
    store: str,
    photos: list[Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search = ["search", str(photos[0]), store]
    monkeypatch.setenv("LOOKALIKE_SERVER__MAX_PIXELS", "1")
    assert main(search) == 0
    monkeypatch.setenv("LOOKALIKE_DATASET__MAX_PIXELS", "1")
    assert main(search) == 1
    assert "the limit is 1." in capsys.readouterr().err


def test_naming_the_embedded_encoder_sets_other_weights_aside(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("encoder: {weights: nothing.h5}\nstore: s\n")
    arguments = ["build", f"--config={config}", f"--images={images}"]
    assert main(arguments) == 1
    assert "--encoder efficientnet_lite0" in capsys.readouterr().err
    assert main([*arguments, "--encoder=efficientnet_lite0"]) == 0


def test_random_weights_are_announced(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for photo in sorted(images.rglob("*.jpg"))[1:]:
        photo.unlink()
    store = f"--store={tmp_path / 's'}"
    assert main(["build", f"--images={images}", "--weights=random:1", store]) == 0
    assert "random numbers" in capsys.readouterr().err
    assert main(["search", str(next(images.rglob("*.jpg"))), store]) == 0
    assert "random numbers" in capsys.readouterr().err


def test_a_build_interrupted_from_the_terminal_says_how_to_go_on(
    images: Path, tmp_path: Path
) -> None:
    """A real SIGINT, sent as soon as the build has taken the store."""
    store = tmp_path / "s"
    build = ["build", "--images", str(images), "--encoder", "efficientnet_lite0"]
    build += ["--store", str(store)]
    with started([sys.executable, "-m", "indexer", *build]) as process:
        eventually((store / "build.owner").exists)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run it again to go on" in errors
    assert run(*build).returncode == 0


def test_a_reader_that_has_read_enough_is_no_error(store: str) -> None:
    """As ``lookalike status | head -1``; here the pipe is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "indexer", "status", store]
    done = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
