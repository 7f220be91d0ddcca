"""Addresses to push to: every test with one runs on each kind of storage."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.config import Config
from tests.object_storage import s3_server


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def folder_address(tmp_path: Path) -> str:
    """An address in a folder, for what does not depend on the kind of storage."""
    return f"file://{tmp_path}/copy"


@pytest.fixture
def copy(tmp_path: Path) -> Config:
    """The settings of a store to pull into."""
    return Config(store=tmp_path / "pulled")


@pytest.fixture(params=["file", "memory", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address at which there is nothing yet."""
    if request.param == "file":
        return f"file://{tmp_path}/copy"
    name = secrets.token_hex(4)
    if request.param == "memory":
        return f"memory://{name}/copy"
    return f"{request.getfixturevalue('bucket')}/{name}"
