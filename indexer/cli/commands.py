"""What each verb of the command line does and prints."""

import argparse
import csv
import json
import os
import sys
from dataclasses import astuple, fields
from typing import TYPE_CHECKING

from indexer.cli.reports import print_report
from indexer.cli.watching import watch
from indexer.text import printable

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.maintenance import Status

RANDOM_WEIGHTS_WARNING = (
    "Warning: the encoder's weights are random numbers, made for tests. "
    "The neighbours it finds mean nothing."
)


def plan(options: argparse.Namespace, config: "Config") -> int:
    """Print what a build will take."""
    from indexer.build.plan import plan

    config = _with_stored_settings(config)
    found = plan(config)
    warn_of_random_weights(config.encoder.weights)
    print(json.dumps(found.to_json()) if options.json else found.summary)
    return 0


def build(options: argparse.Namespace, config: "Config") -> int:
    """Build the index, or print what a build would do."""
    from indexer.build import build

    config = _with_stored_settings(config)
    if options.dry_run:
        return _dry_run(options, config)
    _warn_of_replaced_images(config)
    warn_of_random_weights(config.encoder.weights)
    if options.watch:
        return watch(options, config)
    report = build(config, allow_shrink=options.allow_shrink, reread=options.reread)
    if options.json:
        print(json.dumps(report.to_json()))
    else:
        print_report(report, config, options)
    return 0


def _with_stored_settings(config: "Config") -> "Config":
    """Return the settings to build an index again; say whose encoder is used if files disagree."""
    from indexer.build import replaced_encoder, with_stored_settings

    stored = with_stored_settings(config)
    if replaced := replaced_encoder(config, stored):
        print(replaced, file=sys.stderr)
    return stored


def search(options: argparse.Namespace, config: "Config") -> int:
    """Print the images most like one, or like those with some words, of a store or a server."""
    from indexer.search import Query, Searcher, Selection, parse_names, read_file

    image = None if options.image is None else read_file(options.image)
    facets = parse_names(options.facets) if options.facets else []
    if options.server is not None:
        from indexer.cli.remote import search_remotely

        key = os.environ.get("LOOKALIKE_KEY")
        given = {name: getattr(options, name) for name in ("text", "k", "mode")}
        given["facets"] = options.facets or None
        fields = [(name, str(value)) for name, value in given.items() if value is not None]
        fields += [("filter", clause) for clause in options.filter]
        answer = search_remotely(options.server, image, fields, key=key)
        source = options.server
    else:
        selection = Selection(k=options.k, mode=options.mode, filter=options.filter, facets=facets)
        found = Searcher.open(config).search(Query(image=image, text=options.text), selection)
        answer, source = found.to_dict(), f"encoder {found.encoder}"
    if answer["encoder"]["random_weights"]:
        print(RANDOM_WEIGHTS_WARNING, file=sys.stderr)
    if options.json:
        print(json.dumps(answer))
        return 0
    if note := (answer.get("query") or {}).get("note"):
        print(f"{options.image} is damaged: {printable(note)}", file=sys.stderr)
    for hit in answer["results"]:
        print(f"{hit['rank']:4}  {hit['distance']:.4f}  {printable(hit['key'])}")
    for name, facet in answer.get("facets", {}).items():
        counts = [f"{_written(one['value'])} {one['count']:,}" for one in facet["values"]]
        others = [f"and {facet['others']:,} others"] if facet["others"] else []
        print(printable(f"{name}: {', '.join(counts + others) or 'no values'}"))
    if words := answer.get("words"):
        print(printable(words["summary"]))
    if answer.get("no_match"):
        print("Probably nothing matches: even the best result is unusually far away.")
    total = answer["timings_ms"]["total"]
    print(
        f"{len(answer['results'])} results, {printable(answer['mode'])}, {source}, {total:.0f} ms"
    )
    return 0


def _written(value: object) -> str:
    """Return a value as a filter has it, but for quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def status(options: argparse.Namespace, config: "Config") -> int:
    """Print what the index holds."""
    from indexer.datasets import open_dataset
    from indexer.maintenance import SkippedFile, status
    from indexer.tables import csv_row

    found = status(config)
    warn_of_random_weights(str(found.manifest.encoder["weights"]))
    if options.csv:
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(field.name for field in fields(SkippedFile))
        rows.writerows(csv_row(astuple(file)) for file in found.skipped)
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
    for one in found.formats:
        print(printable(f"  format   {one.files} {one.suffix or 'without ending'}: {one.advice}"))
    if found.noted:
        print(f"  damaged  {len(found.noted)} indexed, their pictures are whole")
    _print_search(found)
    if found.last_run:
        print(f"last run   {found.last_run.summary}")
    _print_lists(options, found)
    return 0


def _print_search(found: "Status") -> None:
    """Print how images are found."""
    derived = found.manifest.derived
    print(f"search     exact{', by shortlist' if 'shortlist' in derived else ''}")
    if approximate := derived.get("approximate"):
        print(f"           approximate, {approximate.made_by}")
    if found.promise:
        for line in (found.promise.summary, *found.promise.notes):
            print(f"           {line}")
    if graph := found.graph:
        what = f"the {graph.k} nearest" if graph.k < graph.count else "all others"
        print(f"graph      {what} of each image, {graph.mode}")


def _print_lists(options: argparse.Namespace, found: "Status") -> None:
    """Print the fields and the files that were asked for."""
    if options.fields:
        for field in found.fields:
            print(printable(f"{field.name}  {field.kind}, {field.images:,} images"))
    if options.skipped:
        _print_files(found)


def _print_files(found: "Status") -> None:
    """Print the skipped files with their reasons, and what is wrong with indexed ones."""
    for file in found.skipped:
        print("\t".join(printable(value) for value in astuple(file)))
    for key, note in found.noted.items():
        print(f"{printable(key)}\tindexed\t{printable(note)}")


def warn_of_random_weights(weights: str) -> None:
    """Warn on stderr if the encoder has random weights."""
    if weights.startswith("random:"):
        print(RANDOM_WEIGHTS_WARNING, file=sys.stderr)


def verify(options: argparse.Namespace, config: "Config") -> int:
    """Check every checksum and count."""
    from indexer.maintenance import verify

    verdict = verify(config)
    if options.json:
        print(
            json.dumps(
                {
                    "version": verdict.version,
                    "images": verdict.images,
                    "problems": verdict.problems,
                    "not_noted": verdict.not_noted,
                    "not_checked": verdict.not_checked,
                }
            )
        )
    elif verdict.problems:
        for problem in verdict.problems:
            print(problem)
        print(f"{len(verdict.problems)} problems found. {verdict.hint}")
        if verdict.not_noted:
            print(
                f"This could not be noted for the next build ({verdict.not_noted}): "
                "verify again where the store may be written, then build."
            )
    else:
        if verdict.not_checked:
            print(f"Not checked: what is not published yet. {verdict.not_checked}")
        print(f"version {verdict.version} is sound: {verdict.images} images, every checksum right")
    return 1 if verdict.problems else 0


def export(options: argparse.Namespace, config: "Config") -> int:
    """Write the vectors of the index, with ids and keys, in another format."""
    from indexer.export import export

    done = export(config, options.to, options.path)
    print(json.dumps(done.to_json()) if options.json else done.summary)
    return 0


def push(options: argparse.Namespace, config: "Config") -> int:
    """Copy the published version to object storage."""
    from indexer.transfer import push

    done = push(config, options.address)
    print(json.dumps(done.to_json()) if options.json else done.summary)
    return 0


def pull(options: argparse.Namespace, config: "Config") -> int:
    """Fetch the version that was pushed to object storage, and publish it here."""
    from indexer.transfer import pull

    done = pull(config, options.address)
    print(json.dumps(done.to_json()) if options.json else done.summary)
    return 0


def versions(options: argparse.Namespace, config: "Config") -> int:
    """Print the published versions."""
    from indexer.maintenance import versions as list_versions

    found = list_versions(config)
    if options.json:
        print(json.dumps([version.to_json() for version in found]))
        return 0
    for version in found:
        mark = "*" if version.published else " "
        what = (
            f"{version.created}  found {version.found} = indexed {version.indexed} + "
            f"skipped {version.skipped}"
            if version.created
            else "damaged"
        )
        print(f"{mark} {version.version}  {what}")
    print(f"{len(found)} versions; * is the published one")
    return 0


def rollback(options: argparse.Namespace, config: "Config") -> int:
    """Publish an older version again."""
    from indexer.maintenance import rollback as roll_back

    version = roll_back(config, options.version)
    print(json.dumps({"version": version}) if options.json else f"published again: {version}")
    return 0


def prune(options: argparse.Namespace, config: "Config") -> int:
    """Remove old versions."""
    from indexer.errors import ConfigError
    from indexer.maintenance import prune as remove_old

    if options.keep < 1:
        raise ConfigError(f"--keep is {options.keep}; it can be 1 or more.")
    removed = remove_old(config, options.keep)
    print(json.dumps({"removed": removed}) if options.json else f"{len(removed)} versions removed")
    return 0


def _warn_of_replaced_images(config: "Config") -> None:
    """Say on stderr whose images the index holds, if a build would replace some of them."""
    from indexer.build import replaced_source
    from indexer.datasets import open_dataset

    before, now = replaced_source(config), open_dataset(config.dataset).source
    if before is None:
        return
    print(
        f"The index in {config.store} holds the images of {before}; it will hold those of {now}.\n"
        "Images that are not there leave the index; no image file is touched. "
        "`lookalike rollback` undoes it.\n"
        "To have an index of each, stop this and name another store: --store FOLDER.",
        file=sys.stderr,
    )


def _dry_run(options: argparse.Namespace, config: "Config") -> int:
    from indexer.build.plan import preview

    found = preview(config, reread=options.reread)
    if options.json:
        print(json.dumps(found))
        return 0
    marks = {"new": "+", "changed": "~", "retried": "?", "removed": "-", "checked": "="}
    for name, mark in marks.items():
        for key in found[name]:
            print(f"{mark} {printable(key)}")
    counts = ", ".join(f"{len(keys)} {name}" for name, keys in found.items())
    print(f"{counts}; nothing was changed (files that moved are new and removed here)")
    return 0
