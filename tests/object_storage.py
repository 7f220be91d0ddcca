"""Object storage for the tests: a folder, fsspec's memory, and moto's server, which speaks S3."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def s3_server() -> Iterator[str]:
    """Run a server that speaks S3 and let this process, and those it starts, use it.

    Yields the address of a bucket. The test is skipped if moto is not installed.
    """
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            for name in set(os.environ) & {"AWS_PROFILE", "AWS_SESSION_TOKEN"}:
                patch.delenv(name)
            bucket = f"bucket-{secrets.token_hex(4)}"
            make_bucket(bucket)
            yield f"s3://{bucket}"
    finally:
        server.stop()


def make_bucket(name: str) -> None:
    """Make a bucket, which Lookalike itself never does."""
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(name)
