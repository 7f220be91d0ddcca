"""Precision at 10 of a running server over labelled images, each left out in turn.

Every image of a folder is uploaded to the server's search API as a person would, and the ten
nearest other images are compared with it by label: the name of an image's folder, or for numbered
files in one folder (0.jpg, 1.jpg, ...) the number divided by a hundred, as in Corel-1k.

    python -m benchmarks.precision --images FOLDER [--url http://127.0.0.1:8000]
"""

import argparse
import json
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tqdm import tqdm
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

K = 10


def main() -> None:
    """Ask the server about every image and print the mean precision."""
    parser = argparse.ArgumentParser(description="Precision at 10 through the HTTP API.")
    parser.add_argument("--images", type=Path, default=Path("demo/images"), metavar="FOLDER")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    options = parser.parse_args()
    files = sorted(file for file in options.images.rglob("*.jpg"))
    precisions = [
        precision(file, options.images, options.url) for file in tqdm(files, disable=None)
    ]
    mean = sum(precisions) / len(precisions)
    print(f"precision@{K} {mean:.4f} over {len(files)} images, each left out in turn")


def precision(file: Path, root: Path, url: str) -> float:
    """Return the share of the ten nearest other images that have the file's label."""
    key = file.relative_to(root).as_posix()
    answer = search(url, file.read_bytes(), k=K + 1)
    others = [result["key"] for result in answer["results"] if result["key"] != key][:K]
    return sum(label(other) == label(key) for other in others) / K


def label(key: str) -> str:
    """Return the class of an image: its folder, or its number divided by a hundred."""
    path = Path(key)
    return str(int(path.stem) // 100) if path.stem.isdecimal() else path.parent.as_posix()


def search(url: str, image: bytes, k: int) -> dict[str, Any]:
    """Post an image to the search API."""
    file = FileStorage(BytesIO(image), filename="image")
    boundary, body = encode_multipart({"image": file, "k": k})
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    with urlopen(Request(f"{url}/api/v1/search", body, headers), timeout=120) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


if __name__ == "__main__":
    main()
