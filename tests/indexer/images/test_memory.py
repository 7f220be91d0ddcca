"""Decoding with less memory than it takes, as in a container: in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

LIMITED = """if True:
    import resource
    import sys
    import zlib
    from pathlib import Path

    from tests.indexer.images.matrix.writers import chunk

    def wide_png(side=9_900):
        header = side.to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
        packer = zlib.compressobj()
        rows = b"".join(packer.compress(bytes(3 * side + 1)) for _ in range(side))
        body = chunk(b"IHDR", header) + chunk(b"IDAT", rows + packer.flush())
        return b"\\x89PNG\\r\\n\\x1a\\n" + body + chunk(b"IEND", b"")

    def leave(megabytes):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 10**6,) * 2)
"""
"""A picture of 98 megapixels in a file of 290 kB, and a limit for what is decoded afterwards."""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="needs /proc to know the memory in use"
)


def output_of(script: str, *arguments: object) -> list[str]:
    command = [sys.executable, "-c", LIMITED + script, *map(str, arguments)]
    settings = os.environ | {"MALLOC_ARENA_MAX": "1"}  # glibc reserves 64 MB for every thread
    done = subprocess.run(
        command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_decoding_says_that_memory_ran_out() -> None:
    script = """
    from indexer.errors import OutOfMemory
    from indexer.images import decoded, model_input, pixels
    data = wide_png()
    print(pixels(data))
    leave(150)
    try:
        with decoded(data, max_pixels=10**8):
            print("decoded")
    except OutOfMemory as error:
        print(error.code)
    small = wide_png(90)
    with decoded(small, max_pixels=10**8) as image:
        print(model_input(image).shape)
    """
    assert output_of(script) == ["98010000", "out_of_memory", "(224, 224, 3)"]


def test_a_build_skips_what_does_not_fit_and_tries_it_again(tmp_path: Path) -> None:
    script = """
    from indexer.build import build
    from indexer.encoders import open_encoder
    from tests.conftest import small_config
    folder = Path(sys.argv[1])
    (folder / "images").mkdir()
    (folder / "images" / "wide.png").write_bytes(wide_png())
    (folder / "images" / "small.png").write_bytes(wide_png(90))
    config = small_config(folder / "images", folder / "store")
    encoder = open_encoder(config.encoder)
    encoder.load()
    before = resource.getrlimit(resource.RLIMIT_AS)
    _, most = before
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 550 * 10**6, most))
    report = build(config, encoder)
    print(report.indexed, report.reasons)
    resource.setrlimit(resource.RLIMIT_AS, before)
    report = build(config, encoder)
    print(report.indexed, report.reasons)
    """
    assert output_of(script, tmp_path) == ["1 {'out_of_memory': 1}", "2 {}"]


def test_a_server_refuses_what_does_not_fit(tmp_path: Path) -> None:
    script = """
    import io
    from indexer.build import build
    from server.app import create_app
    from tests.conftest import small_config
    folder = Path(sys.argv[1])
    (folder / "images").mkdir()
    (folder / "images" / "small.png").write_bytes(wide_png(90))
    config = small_config(folder / "images", folder / "store")
    build(config)
    client = create_app(config).test_client()

    def search(data):
        answer = client.post("/api/v1/search", data={"image": (io.BytesIO(data), "a.png")})
        return answer

    import time
    while search(wide_png(90)).status_code != 200:  # until the encoder is loaded
        time.sleep(0.1)
    data = wide_png()
    leave(150)
    answer = search(data)
    print(answer.status_code, answer.json["error"]["code"], answer.headers["Retry-After"])
    print(search(wide_png(90)).status_code)
    """
    assert output_of(script, tmp_path) == ["503 out_of_memory 5", "200"]
