"""Text from outside: encodings, spellings, and values that a catalogue can hold."""

import json
import sqlite3
import unicodedata
from contextlib import closing

import pytest

from indexer.text import (
    MAX_DEPTH,
    MAX_SPELLINGS,
    NOT_FINITE,
    NOT_TEXT,
    as_utf8,
    decode,
    escaped,
    is_text,
    parse_json,
    spellings,
    storable,
)

NFC, NFD = (unicodedata.normalize(form, "Málaga") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"]
)
def test_every_encoding_with_a_mark_is_read_and_the_mark_is_no_text(encoding: str) -> None:
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    assert decode(mark + "a/日本.jpg\r\n😀".encode(encoding)) == "a/日本.jpg\r\n😀"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["a.jpg", "日本.jpg\n日本日本日本日本日本日本.jpg\n", '{"a": 1}'])
def test_utf_16_without_a_mark_is_refused_with_advice(encoding: str, text: str) -> None:
    with pytest.raises(ValueError, match="without a byte order mark; save it as UTF-8"):
        decode(text.encode(encoding))


def test_a_stray_zero_byte_is_not_taken_for_utf_16() -> None:
    assert decode(b"a\0b.jpg\nc\0d.jpg\n") == "a\0b.jpg\nc\0d.jpg\n"


@pytest.mark.parametrize("data", [b"ab\xe9", "\ufeffa".encode("utf-16-le") + b"\0"])
def test_invalid_text_is_refused_with_the_place(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"it is not valid UTF-(8|16) at byte"):
        decode(data)


def test_invalid_bytes_can_be_kept() -> None:
    assert decode(b"caf\xe9.jpg", keep_invalid=True) == "caf\udce9.jpg"
    lone = "\ufeff\ud83d.jpg".encode("utf-16-le", "surrogatepass")
    assert decode(lone, keep_invalid=True) == "\ud83d.jpg"


def test_what_is_not_text_is_escaped() -> None:
    assert [escaped(text) for text in ("é", "caf\udce9", "\ud83d")] == [
        "é",
        "caf\\xe9",
        "\\xed\\xa0\\xbd",
    ]
    assert [is_text(text) for text in ("é", "caf\udce9", "\ud83d")] == [True, False, False]


def test_a_name_is_spelt_as_it_is_first() -> None:
    assert spellings("a/b.jpg") == ["a/b.jpg"]
    assert spellings(NFC) == [NFC, NFD]
    assert spellings(NFD) == [NFD, NFC]
    assert spellings("a\\b.jpg") == ["a\\b.jpg", "a/b.jpg"]


def test_each_folder_has_its_own_spelling() -> None:
    assert set(spellings(f"{NFC}/{NFC}")) == {
        f"{one}/{other}" for one in (NFC, NFD) for other in (NFC, NFD)
    }
    assert f"{NFD}/b.jpg" in spellings(f"{NFC}\\b.jpg")


def test_deep_names_do_not_multiply_without_end() -> None:
    found = spellings("/".join([NFC] * 100))
    assert (len(found), found[0]) == (MAX_SPELLINGS, "/".join([NFC] * 100))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", "9223372036854775808"),
        ("-9223372036854775809", "-9223372036854775809"),
        ("9" * 5000, "9" * 5000),
        ("-7", -7),
    ],
)
def test_integers_beyond_64_bits_keep_their_digits(text: str, value: object) -> None:
    assert parse_json(text.encode()) == value


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{", "invalid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff", "not valid UTF-8"),
        (b"", "invalid JSON"),
    ],
)
def test_json_that_cannot_be_read_says_why(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_json(data)


@pytest.mark.parametrize(
    ("text", "value", "repairs"),
    [
        ("[NaN, -Infinity, Infinity, 1e999, 1e308]", [None] * 4 + [1e308], {NOT_FINITE}),
        (r'"so cute \ud83d"', "so cute \ufffd", {NOT_TEXT}),
        (r'"\ud83d\ude00"', "😀", set()),
        (r'{"a\u0000": {"b": "\u0000"}}', {"a\ufffd": {"b": "\ufffd"}}, {NOT_TEXT}),
        (r'"\u0007\u001b[31m"', "\a\x1b[31m", set()),
        ("[1, true, null, 0.5]", [1, True, None, 0.5], set()),
    ],
)
def test_values_become_what_a_catalogue_can_hold(
    text: str, value: object, repairs: set[str]
) -> None:
    found = set[str]()
    stored = storable(parse_json(text.encode()), found)
    assert (stored, found) == (value, repairs)
    json.dumps(stored, ensure_ascii=False, allow_nan=False).encode()


def test_the_deepest_value_is_one_that_sqlite_reads() -> None:
    deepest = storable(parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH), set())
    with closing(sqlite3.connect(":memory:")) as connection:
        select = "SELECT count(*) FROM json_each(?)"
        assert connection.execute(select, [json.dumps(deepest)]).fetchone() == (1,)
    with pytest.raises(ValueError, match="nested too deeply"):
        storable([deepest, [deepest]], set())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_in_another_encoding_becomes_utf_8(encoding: str) -> None:
    assert as_utf8("é 😀".encode(encoding)) == "é 😀".encode()


def test_a_text_in_utf_8_is_not_copied() -> None:
    data = b"\xff" * 1000
    assert as_utf8(data) is data
    with pytest.raises(ValueError, match="not valid UTF-16"):
        as_utf8("a".encode("utf-16")[:-1])
