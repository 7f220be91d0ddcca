"""The command line: ``python -m indexer plan | build | search | status | verify``.

Exit status 0 for success, 1 for a failure explained on stderr, 2 for wrong usage, 130 for Ctrl-C.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer import __version__
from indexer.errors import ConfigError, LookalikeError

if TYPE_CHECKING:
    from indexer.config import Config

RANDOM_WEIGHTS_WARNING = (
    "Warning: the encoder's weights are random numbers, made for tests. "
    "The neighbours it finds mean nothing."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        from indexer.config import load_config

        config = load_config(options.config, _flags(options))
        status: int = options.run(options, config)
        return status
    except LookalikeError as error:
        print(f"Error: {error.message}", file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder that may not be written, ...
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What was committed is kept; run it again to go on.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m indexer",
        description="Make an image index, query it, check it.",
        epilog="Settings come from config.yaml, LOOKALIKE_SECTION__KEY variables and these flags.",
    )
    parser.add_argument("--version", action="version", version=f"Lookalike {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, metavar="FILE", help="settings (config.yaml)")
    shared.add_argument("--store", metavar="FOLDER", help="where the index lives")
    shared.add_argument("--json", action="store_true", help="print JSON for machines")

    source = argparse.ArgumentParser(add_help=False)
    source.add_argument(
        "--images", metavar="PATH", help="a folder of images, a list of them (.txt) or a .tar file"
    )
    source.add_argument(
        "--annotations", metavar="FILE", help="COCO's JSON file that describes the folder's images"
    )
    source.add_argument("--encoder", metavar="MODEL", help="vgg16 or efficientnet_lite0")
    source.add_argument("--weights", metavar="FILE", help="imagenet, or a Keras weights file")

    verb = verbs.add_parser("plan", parents=[shared, source], help="what a build will take")
    verb.set_defaults(run=_plan)

    verb = verbs.add_parser(
        "build", parents=[shared, source], help="make the index match the images"
    )
    verb.set_defaults(run=_build)

    verb = verbs.add_parser("search", parents=[shared], help="find the images most like one image")
    verb.add_argument("image", type=Path, metavar="IMAGE", help="an image file")
    verb.add_argument("--k", type=int, metavar="N", help="how many results")
    verb.add_argument("--mode", choices=("exact", "approximate"), help="how to search")
    verb.set_defaults(run=_search)

    verb = verbs.add_parser("status", parents=[shared], help="what the index holds")
    verb.add_argument(
        "--skipped", action="store_true", help="list every skipped file with its reason"
    )
    verb.add_argument(
        "--csv", action="store_true", help="print the skipped files as CSV, and nothing else"
    )
    verb.set_defaults(run=_status)

    verb = verbs.add_parser("verify", parents=[shared], help="check every checksum and count")
    verb.set_defaults(run=_verify)
    return parser


def _flags(options: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that were given, nested like the configuration."""
    flags: dict[str, Any] = {}
    places = {
        "store": ("store",),
        "images": ("dataset", "root"),
        "annotations": ("dataset", "annotations"),
        "encoder": ("encoder", "model"),
        "weights": ("encoder", "weights"),
    }
    for name, (*sections, key) in places.items():
        if (value := getattr(options, name, None)) is not None:
            section = flags
            for part in sections:
                section = section.setdefault(part, {})
            section[key] = value
    if kind := _kind(getattr(options, "images", None), getattr(options, "annotations", None)):
        flags["dataset"]["kind"] = kind
    if getattr(options, "encoder", None) == "efficientnet_lite0" and not options.weights:
        flags["encoder"]["weights"] = "imagenet"  # not those config.yaml has for VGG16
    return flags


def _kind(images: str | None, annotations: str | None) -> str | None:
    """Return the kind of dataset that the flags can only mean, or None: then the configured one."""
    if annotations is not None:
        return "coco"
    if images and images.lower().endswith(".json"):
        raise ConfigError(
            f"{images} is no folder of images.",
            "COCO takes two paths: IMAGES=<folder> ANNOTATIONS=<file>.json.",
        )
    return {".txt": "list", ".tar": "tar"}.get(Path(images or "").suffix.lower())


def _plan(options: argparse.Namespace, config: "Config") -> int:
    from indexer.plan import plan

    found = plan(config)
    _warn_of_random_weights(config.encoder.weights)
    print(json.dumps(found.to_json()) if options.json else found.summary)
    return 0


def _build(options: argparse.Namespace, config: "Config") -> int:
    from indexer.build import build

    report = build(config)
    _warn_of_random_weights(config.encoder.weights)
    if options.json:
        print(json.dumps(report.to_json()))
        return 0
    if report.ignored:
        names = ", ".join(f"{suffix} {n}" for suffix, n in sorted(report.ignored.items()))
        print(f"passed over, not images by their names: {names}")
    if report.skipped:
        print("skipped files and reasons: python -m indexer status --skipped")
    if int(report.version) > 1 and (report.encoded or report.removed):
        print("A server that is running answers from this version once it is restarted.")
    for note in report.notes:
        print(note)
    print(f"version {report.version}, encoder {report.encoder}, {report.removed} removed")
    print(report.summary)
    return 0


def _search(options: argparse.Namespace, config: "Config") -> int:
    from indexer.errors import InvalidImage
    from indexer.search import Searcher

    try:
        data = options.image.read_bytes()
    except OSError as error:
        raise InvalidImage(f"{options.image} cannot be read: {error.strerror}.") from None
    answer = Searcher.open(config).search_image(data, k=options.k, mode=options.mode)
    _warn_of_random_weights(answer.encoder.weights)
    if options.json:
        results = [
            {
                "rank": hit.rank,
                "image_id": hit.image.id,
                "key": hit.image.key,
                "distance": hit.distance,
                "cosine": hit.cosine,
                "metadata": hit.image.metadata,
            }
            for hit in answer.hits
        ]
        summary = {"version": answer.version, "encoder": answer.encoder.fingerprint}
        summary |= {"mode": answer.mode}
        print(json.dumps({**summary, "timings_ms": answer.timings_ms, "results": results}))
        return 0
    for hit in answer.hits:
        print(f"{hit.rank:4}  {hit.distance:.4f}  {hit.image.key}")
    total = answer.timings_ms["total"]
    print(f"{len(answer.hits)} results, {answer.mode}, encoder {answer.encoder}, {total:.0f} ms")
    return 0


def _status(options: argparse.Namespace, config: "Config") -> int:
    from indexer.datasets import open_dataset
    from indexer.status import SkippedFile, status

    found = status(config)
    _warn_of_random_weights(str(found.manifest.encoder["weights"]))
    if options.csv:
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(field.name for field in fields(SkippedFile))
        rows.writerows(astuple(file) for file in found.skipped)
        return 0
    if options.json:
        print(json.dumps(found.to_json()))
        return 0
    manifest, counts = found.manifest, found.counts
    encoder = manifest.encoder
    print(f"store      {found.store} ({found.bytes_on_disk / 1e6:.1f} MB)")
    print(f"version    {manifest.version}, {manifest.created:%Y-%m-%d %H:%M} UTC")
    print(f"encoder    {encoder['model']} {encoder['layer']}, {manifest.fingerprint}")
    print(f"images     {open_dataset(manifest.dataset).source}")
    print(f"found      {counts.found} = indexed {counts.indexed} + skipped {counts.skipped}")
    for reason, number in found.reasons.items():
        print(f"  skipped  {number} {reason}")
    print(f"search     exact{', by shortlist' if 'shortlist' in manifest.derived else ''}")
    if approximate := manifest.derived.get("approximate"):
        print(f"           approximate, {approximate.made_by}; recall@30 by lists visited:")
        print("           " + "  ".join(f"{r.nprobe}: {r.recall:.3f}" for r in manifest.recall))
    if found.last_run:
        print(f"last run   {found.last_run.summary}")
    if options.skipped:
        for file in found.skipped:
            print(f"{file.key}\t{file.stage}\t{file.reason}\t{file.message}")
    return 0


def _warn_of_random_weights(weights: str) -> None:
    if weights.startswith("random:"):
        print(RANDOM_WEIGHTS_WARNING, file=sys.stderr)


def _verify(options: argparse.Namespace, config: "Config") -> int:
    from indexer.store import REBUILD_HINT
    from indexer.verify import verify

    verdict = verify(config)
    if options.json:
        print(
            json.dumps(
                {"version": verdict.version, "images": verdict.images, "problems": verdict.problems}
            )
        )
    elif verdict.problems:
        for problem in verdict.problems:
            print(problem)
        print(f"{len(verdict.problems)} problems found. {REBUILD_HINT}")
    else:
        print(f"version {verdict.version} is sound: {verdict.images} images, every checksum right")
    return 1 if verdict.problems else 0
