"""Examples the OpenAPI document shows wherever a model is sent or answered, by the model's name."""

from typing import Any


def _example(summary: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "value": value}


BOX = {"x": 0.1, "y": 0.2, "width": 0.5, "height": 0.5}

EXAMPLES: dict[str, dict[str, Any]] = {
    "SearchStored": {
        "image_id": _example("Like an indexed image", {"image_id": 12, "k": 10}),
        "vector": _example(
            "Like a vector, here of an encoder of four dimensions",
            {"vector": [0.12, 0.0, 0.87, 0.48], "threshold": 1.1},
        ),
        "positives": _example(
            "Like two images, the second half as much, and not like a third",
            {
                "positives": [{"image_id": 12}, {"image_id": 15, "weight": 0.5}],
                "negatives": [{"image_id": 31}],
            },
        ),
        "crop": _example(
            "Like a region of an image, among some of the images",
            {
                "image_id": 12,
                "crop": BOX,
                "allowed": {"key_prefix": "cats/", "metadata": {"class": "tabby"}},
            },
        ),
    },
    "BatchStored": {
        "queries": _example(
            "Two searches", {"queries": [{"image_id": 12, "k": 5}, {"image_id": 15, "k": 5}]}
        )
    },
    "SearchAnswer": {
        "image_id": _example(
            "The image nearest to an indexed one, itself",
            {
                "version": "00000001",
                "encoder": {
                    "model": "vgg16",
                    "layer": "fc2",
                    "weights": "imagenet",
                    "dim": 4096,
                    "preprocessing": "bicubic 224x224, bgr, (x - (103.939, 116.779, 123.68)) * 1.0",
                    "fingerprint": "1f6e0c8a5d3b7294",
                    "random_weights": False,
                },
                "mode": "exact",
                "query": {
                    "kind": "image_id",
                    "image_id": 12,
                    "url": None,
                    "crop": None,
                    "allowed": None,
                    "positives": [],
                    "negatives": [],
                    "k": 1,
                    "page": 1,
                    "threshold": None,
                    "collapse_duplicates": False,
                },
                "timings_ms": {"decode": 0.0, "encode": 0.0, "search": 1.9, "total": 2.2},
                "results": [
                    {
                        "rank": 1,
                        "image_id": 12,
                        "key": "000000000139.jpg",
                        "distance": 0.0,
                        "cosine": 1.0,
                        "url": "/api/v1/images/12/file?v=3f2a90c1d7e4",
                        "thumbnail_url": "/api/v1/images/12/thumbnail?v=3f2a90c1d7e4",
                        "metadata": {"captions": ["A dining room with a table and chairs."]},
                        "duplicates": [],
                    }
                ],
                "more": True,
            },
        )
    },
}
