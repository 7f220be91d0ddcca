"""A client of the real application over the demo index."""

import pytest
from flask.testing import FlaskClient

from indexer.config import Config
from server.app import create_app


@pytest.fixture(scope="session")
def client(demo_config: Config) -> FlaskClient:
    return create_app(demo_config).test_client()
