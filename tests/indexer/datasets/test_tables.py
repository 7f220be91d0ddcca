"""Tables describe the images of any dataset: three formats, one meaning."""

import datetime
import json
import pickle
import sys
import tarfile
import tracemalloc
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import indexer.images.decoding
from indexer.build import build
from indexer.config import DatasetConfig
from indexer.datasets import Listing, open_dataset, require_folders
from indexer.errors import DatasetError, MissingDependency
from indexer.search import Searcher
from tests.conftest import small_config

NAMES = ("a.jpg", "b/c.jpg", "b/d.jpg")
CSV = "path,label,year,score,sharp\na.jpg,cat,1999,0.5,true\nb/c.jpg,,,,\n"
A = {"label": "cat", "year": 1999, "score": 0.5, "sharp": True}
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of three files; a scan does not look into them."""
    for name in NAMES:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "images"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> Path:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def scan(table: Path, root: Path | list[Path], **settings: Any) -> Listing:
    roots = [str(r) for r in root] if isinstance(root, list) else str(root)
    config = {"root": roots, "metadata": str(table), **settings}
    return open_dataset(DatasetConfig.model_validate(config)).scan()


def described(listing: Listing) -> dict[str, dict[str, Any]]:
    return {item.key: dict(item.metadata) for item in listing.items if item.metadata}


def parquet_file(rows: list[dict[str, Any]]) -> bytes:
    file = BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def json_lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


TABLES = {
    "comma.csv": CSV.encode(),
    "semicolon.csv": CSV.replace(",", ";").encode(),
    "tab.tsv": CSV.replace(",", "\t").encode(),
    "quoted.csv": CSV.replace("cat", '"cat"').replace("\n", "\r\n").encode(),
    "mark.csv": CSV.encode("utf-8-sig"),
    "utf-16.csv": CSV.encode("utf-16"),
    "spaces.CSV": b"\n" + CSV.replace(",", " , ").encode() + b"\n",
    "lines.jsonl": json_lines({"path": "a.jpg", **A}, {"path": "b/c.jpg"}).encode(),
    "utf-16.ndjson": json_lines({"path": "a.jpg", **A}, {"path": "b/c.jpg"}).encode("utf-16"),
    "table.parquet": parquet_file([{"path": "a.jpg", **A}, {"path": "b/c.jpg"}]),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_format_and_encoding_says_the_same(name: str, write: Write, root: Path) -> None:
    listing = scan(write(name, TABLES[name]), root)
    assert described(listing) == {"a.jpg": A}
    assert type(described(listing)["a.jpg"]["sharp"]) is bool
    assert listing.report() == ["1 images without a row in the table (indexed): b/d.jpg"]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("4", 4), ("-4", -4), ("0", 0), ("007", "007"), ("+4", "+4"), ("4.", "4."), (".5", ".5"),
        ("0.50", 0.5), ("-1e3", -1000.0), ("1E3", 1000.0), ("1,5", "1,5"), ("1_000", "1_000"),
        ("true", True), ("FALSE", False), ("tRUE", "tRUE"), ("yes", "yes"), ("nan", "nan"),
        ("Infinity", "Infinity"), ("٣", "٣"), ("  a b ", "a b"), ("[1, 2]", "[1, 2]"),
        ("9223372036854775807", 2**63 - 1), ("9223372036854775808", "9223372036854775808"),
        ("-9223372036854775808", -(2**63)), ("9" * 5000, "9" * 5000), ("a\nb", "a\nb"),
    ],
)  # fmt: skip
def test_cells_of_csv_are_numbers_booleans_or_text(
    cell: str, value: object, write: Write, root: Path
) -> None:
    found = described(scan(write("t.csv", f'path\tvalue\na.jpg\t"{cell}"\n'), root))
    assert found == {"a.jpg": {"value": value}}
    assert type(found["a.jpg"]["value"]) is type(value)


@pytest.mark.parametrize(
    ("header", "column"),
    [("Path,x", 0), ("x,FILE_NAME", 1), ("file,path", 1), ("path,key", 1), ("x,file", 1)],
)
def test_the_first_known_name_is_the_column_of_paths(
    header: str, column: int, write: Write, root: Path
) -> None:
    cells = ["1", "1"]
    cells[column] = "a.jpg"
    (other,) = (name for place, name in enumerate(header.split(",")) if place != column)
    assert described(scan(write("t.csv", f"{header}\n{','.join(cells)}\n"), root)) == {
        "a.jpg": {other: 1}
    }


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.csv", "image;label\n", "called key, path, file_name or file; there are image, label"),
        ("t.jsonl", '{"image": 1}\n', "there are image"),
        ("t.jsonl", "{}\n", "there are none"),
        ("t.jsonl", "[\n]\n", "none of its lines is a JSON object"),
        ("t.jsonl", "", "none of its lines is a JSON object"),
        ("t.parquet", parquet_file([{"image": 1}]), "there are image"),
        ("t.parquet", TABLES["table.parquet"][:-9], "Parquet"),
        ("t.csv", "", "it is empty"),
        ("t.csv", "\n\n", "it is empty"),
        ("t.csv", "path,a,a\n", "two of its columns are called a"),
        ("t.csv", CSV.encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("t.csv", CSV.encode("utf-16")[:-1], "not in the encoding"),
        ("t.xlsx", "", "no format that can be read"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_an_error_that_says_why(
    name: str, content: str | bytes, problem: str, write: Write, root: Path
) -> None:
    table = write(name, content)
    with pytest.raises(DatasetError) as caught:
        scan(table, root)
    assert problem in caught.value.message
    assert str(table) in caught.value.message
    assert caught.value.hint


def test_a_table_is_looked_for_before_anything_takes_time(root: Path) -> None:
    for name, problem in (("missing.csv", "does not exist"), ("t.xlsx", "no format")):
        config = DatasetConfig(root=root, metadata=root / name)
        with pytest.raises(DatasetError, match=problem):
            require_folders(config)
        assert open_dataset(config).read("a.jpg") == b"x"  # as a server does, which needs none


def test_without_pyarrow_parquet_names_the_extra(
    write: Write, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "indexer.datasets.tables.parquet", raising=False)
    with pytest.raises(MissingDependency, match="pyarrow") as caught:
        scan(write("t.parquet", TABLES["table.parquet"]), root)
    assert "extra parquet" in caught.value.hint


NFC, NFD = (unicodedata.normalize(form, "Málaga.jpg") for form in ("NFC", "NFD"))


def test_paths_may_be_spelt_in_any_way(write: Write, root: Path) -> None:
    other = root.parent / "scans"
    other.mkdir()
    (other / "1.jpg").write_bytes(b"x")
    (root / NFD).write_bytes(b"x")
    paths = {
        "a.jpg": ["a.jpg", "./a.jpg", "b/../a.jpg", f"{root}/a.jpg"],
        "b/c.jpg": ["b\\c.jpg", ".\\b\\c.jpg", "b//c.jpg"],
        NFD: [NFC, f"./{NFC}", f"{root}/{NFC}"],
        "scans/1.jpg": ["scans/1.jpg", f"{other}/1.jpg"],
    }
    for key, spellings in paths.items():
        for path in spellings:
            table = write("t.csv", f"path,n\n{path},1\n")
            assert described(scan(table, [root, other])) == {key: {"n": 1}}, path
    for path in ("A.jpg", "/a.jpg", "../images/a.jpg", "c.jpg", f"{root.parent}/a.jpg", "a"):
        assert described(scan(write("t.csv", f"path,n\n{path},1\n"), [root, other])) == {}, path


BAD_LINES = [
    ("too many", "b/c.jpg,1,2", "it has 3 values for 2 columns"),
    ("quotes", '"b/c.jpg"x,1', "',' expected after '\"'"),
    ("encoding", b"b/c.jpg,\xe9", "it is not valid UTF-8"),
    ("a long cell", f"b/c.jpg,{'x' * 131_073}", "field larger than field limit (131072)"),
]


@pytest.mark.parametrize(("line", "problem"), [case[1:] for case in BAD_LINES])
def test_a_bad_line_costs_the_line(
    line: str | bytes, problem: str, write: Write, root: Path
) -> None:
    data = line if isinstance(line, bytes) else line.encode()
    listing = scan(write("t.csv", b"path,n\na.jpg,1\n" + data + b"\nb/d.jpg,2\n"), root)
    assert described(listing) == {"a.jpg": {"n": 1}, "b/d.jpg": {"n": 2}}
    assert listing.report() == [
        f"1 table rows that cannot be read: t.csv: line 3 ({problem})",
        "1 images without a row in the table (indexed): b/c.jpg",
    ]


def test_a_cell_may_have_as_much_text_as_the_csv_module_reads(write: Write, root: Path) -> None:
    text = "x" * 131_072
    assert described(scan(write("t.csv", f"path,n\na.jpg,{text}\n"), root)) == {
        "a.jpg": {"n": text}
    }


def test_an_unclosed_quote_loses_no_other_line_silently(write: Write, root: Path) -> None:
    listing = scan(write("t.csv", 'path,n\na.jpg,1\nb/c.jpg,"2\nb/d.jpg,3\n'), root)
    assert described(listing) == {"a.jpg": {"n": 1}}
    assert listing.ignored["table rows that cannot be read"] == 1
    assert listing.ignored["images without a row in the table (indexed)"] == 2


def test_a_short_line_has_no_other_values(write: Write, root: Path) -> None:
    found = described(scan(write("t.csv", "n,path,m,\n1,a.jpg\n2\n"), root))
    assert found == {"a.jpg": {"n": 1}}


def test_bad_lines_of_json_cost_the_line(write: Write, root: Path) -> None:
    lines = ['{"path": "a.jpg", "n": 1}', "[1]", '{"path": ', "", '{"path": "b/c.jpg", "n": 2}']
    deep = '{"path": "b/d.jpg", "n": ' + "[" * 101 + "]" * 101 + "}"
    data = "\n".join([*lines, deep]).encode() + b'\n{"path": "b/d.jpg", "n": "\xe9"}'
    listing = scan(write("t.jsonl", data), root)
    assert described(listing) == {"a.jpg": {"n": 1}, "b/c.jpg": {"n": 2}}
    assert listing.ignored["table rows that cannot be read"] == 4
    places = listing.examples["table rows that cannot be read"]
    assert [place.partition(" (")[0] for place in places[:2]] == [
        "t.jsonl: line 2",
        "t.jsonl: line 3",
    ]


def test_what_a_table_says_in_vain_is_counted_and_named(write: Write, root: Path) -> None:
    (root / "gone.jpg").symlink_to(root / "nothing")
    rows = "a.jpg,1\na.jpg,2\n./a.jpg,3\nz.jpg,4\n,5\ngone.jpg,6\n"
    listing = scan(write("t.csv", f"path,n\n{rows}"), root)
    assert described(listing) == {"a.jpg": {"n": 1}}
    assert listing.report() == [
        "2 table rows of an image that has one: a.jpg (t.csv: line 3), ./a.jpg (t.csv: line 4)",
        "1 table rows of no image: z.jpg (t.csv: line 5)",
        "1 table rows without a path: t.csv: line 6",
        "2 images without a row in the table (indexed): b/c.jpg, b/d.jpg",
    ]


def test_lists_and_objects_come_from_json_lines_and_parquet(write: Write, root: Path) -> None:
    values = {"tags": ["x", "y"], "box": {"left": 1}, "none": None, "empty": "", "no": False}
    stored = {"tags": ["x", "y"], "box": {"left": 1}, "no": False}
    rows = [{"path": "a.jpg", **values}]
    assert described(scan(write("t.jsonl", json_lines(*rows)), root)) == {"a.jpg": stored}
    assert described(scan(write("t.parquet", parquet_file(rows)), root)) == {"a.jpg": stored}


def test_every_value_becomes_one_that_a_catalogue_can_hold(write: Write, root: Path) -> None:
    line = '{"path": "a.jpg", "n": 18446744073709551615, "x": NaN, "half": "\\ud83d", "": 1}\n'
    listing = scan(write("t.jsonl", line), root)
    assert described(listing) == {"a.jpg": {"n": "18446744073709551615", "half": "\ufffd"}}
    assert [note.partition(" became")[0] for note in listing.report()[:2]] == [
        "1 table values with NaN or infinity, which",
        "1 table values with half a character or a zero byte, which",
    ]
    listing = scan(write("t.csv", b"path,x,y\na.jpg,1e999,a\0b\n"), root)
    assert described(listing) == {"a.jpg": {"y": "a\ufffdb"}}


def test_types_of_parquet_become_those_of_json(write: Write, root: Path) -> None:
    row = {
        "path": "a.jpg",
        "day": datetime.date(2013, 11, 14),
        "moment": datetime.datetime(2013, 11, 14, 17, 2, tzinfo=datetime.UTC),
        "price": Decimal("1.5"),
        "large": 2**63 - 1,
        "days": [datetime.date(2013, 11, 14)],
        "blob": b"x",
        "nan": float("nan"),
    }
    table = pa.Table.from_pylist([row]).append_column("huge", pa.array([2**64 - 1], pa.uint64()))
    file = BytesIO()
    parquet.write_table(table, file)
    listing = scan(write("t.parquet", file.getvalue()), root)
    assert described(listing) == {
        "a.jpg": {
            "day": "2013-11-14",
            "moment": "2013-11-14T17:02:00+00:00",
            "price": 1.5,
            "large": 2**63 - 1,
            "days": ["2013-11-14"],
            "huge": "18446744073709551615",
        }
    }
    assert "1 table values that are bytes: t.parquet: row 1: blob" in listing.report()


def write_coco(root: Path) -> dict[str, Any]:
    images = [{"id": n, "file_name": name, "license": 4} for n, name in enumerate(NAMES)]
    (root.parent / "coco.json").write_text(json.dumps({"images": images}))
    return {"kind": "coco", "root": root, "annotations": str(root.parent / "coco.json")}


def write_list(root: Path) -> dict[str, Any]:
    (root.parent / "list.txt").write_text("".join(f"{root.name}/{name}\n" for name in NAMES))
    return {"kind": "list", "root": root.parent / "list.txt"}


def write_tar(root: Path) -> dict[str, Any]:
    (root / "a.json").write_text('{"licence": 4, "n": 0}')
    with tarfile.open(root.parent / "0.tar", "w") as archive:
        archive.add(root, "")
    return {"kind": "tar", "root": root.parent / "0.tar"}


KINDS: dict[str, tuple[Callable[[Path], dict[str, Any]], str, dict[str, Any]]] = {
    "folder": (lambda root: {"root": root}, "", {}),
    "list": (write_list, "images/", {}),
    "coco": (write_coco, "", {"coco_id": 0, "licence": 4}),
    "tar": (write_tar, "0.tar/", {"licence": 4}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_dataset_is_described(kind: str, write: Write, root: Path) -> None:
    """By keys and by absolute paths; and what the table says is above what the dataset says."""
    make, beginning, own = KINDS[kind]
    settings = make(root)
    keys = [f"{beginning}{name}" for name in NAMES]
    base = root if kind in ("folder", "coco") else root.parent
    rows = [
        {"path": keys[0], "n": 1, "licence": ""},
        {"path": str(base / keys[1]), "n": 2, "licence": 5},
    ]
    found = described(scan(write("t.jsonl", json_lines(*rows)), **settings))
    assert found[keys[0]] == {**own, "n": 1}
    assert (found[keys[1]]["n"], found[keys[1]]["licence"]) == (2, 5)


def test_a_described_dataset_is_sent_to_processes_without_its_table(
    write: Write, root: Path
) -> None:
    """Those that decode need the images only."""
    table = write("t.csv", "path,n\n" + "a.jpg,1\n" * 10_000)
    dataset = open_dataset(DatasetConfig(root=root, metadata=table))
    dataset.scan()
    sent = pickle.dumps(dataset)
    assert len(sent) < 2_000
    assert pickle.loads(sent).read("a.jpg") == b"x"  # noqa: S301 -- from above


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_an_image_of_a_table_takes_little_memory(ending: str, write: Write, root: Path) -> None:
    """What is kept are the values, each that is repeated once; a million rows take half a GB."""
    count = 3_000
    for number in range(count):
        (root / f"{number:06}.jpg").touch()
    names = ["path", "label", "score", "split", "author", "title"]
    rows = [
        (f"{n:06}.jpg", f"label {n % 50}", n / 900, "train", f"Author {n % 20}", f"number {n:06}")
        for n in range(count)
    ]
    if ending == ".csv":
        content = "".join(",".join(map(str, row)) + "\n" for row in (names, *rows))
    else:
        content = json_lines(*(dict(zip(names, row, strict=True)) for row in rows))
    table = write(f"t{ending}", content)
    plain = open_dataset(DatasetConfig(root=root))
    plain.scan()
    tracemalloc.start()
    try:
        listing = plain.scan()
        before = tracemalloc.get_traced_memory()[0]
        del listing
        listing = scan(table, root)
        assert tracemalloc.get_traced_memory()[0] - before < 500 * count
    finally:
        tracemalloc.stop()
    assert len(described(listing)) == count


def test_a_changed_table_changes_the_metadata_and_encodes_nothing(
    images: Path, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = sorted(
        path.relative_to(images).as_posix() for path in images.rglob("*.jpg")
    )
    table = write("t.csv", f"path,label\n{first},cat\n{second},dog\n")
    settings = {"root": str(images), "metadata": str(table)}
    config = small_config(images, tmp_path / "store", dataset=settings)

    def labels() -> dict[str, dict[str, Any]]:
        catalogue = Searcher.open(config).collection
        rows = (catalogue.image(image_id) for image_id in range(1, 7))
        return {row.key: dict(row.metadata) for row in rows if row.metadata}

    report = build(config)
    assert "4 images without a row in the table (indexed): " in "\n".join(report.notes)
    assert labels() == {first: {"label": "cat"}, second: {"label": "dog"}}
    assert build(config).version == report.version
    monkeypatch.setattr(indexer.images.decoding, "_decode", None)
    write("t.csv", f"path,label\n{first},cat\n{second},wolf\n")
    again = build(config)
    assert (again.encoded, again.recognised, again.indexed) == (0, 0, 6)
    assert again.version != report.version
    assert labels() == {first: {"label": "cat"}, second: {"label": "wolf"}}
    build(small_config(images, tmp_path / "store"))
    assert labels() == {}
