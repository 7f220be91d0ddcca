"""The domain errors of Lookalike, with a message, a hint and a code."""

from typing import Self


class LookalikeError(Exception):
    """Base of all domain errors.

    ``message`` says what is wrong and why, ``hint`` what to do about it. ``code`` is the stable,
    machine-readable name of the error's class. Only the server maps errors to HTTP statuses.
    """

    code: str = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def fresh(self) -> Self:
        """Return an equal error without traceback and cause.

        An error that is kept must not be raised itself: its traceback grows each time, and keeps
        everything alive that the frames refer to.
        """
        error = type(self).__new__(type(self))
        error.args = self.args
        error.__dict__.update(self.__dict__)
        return error


class ConfigError(LookalikeError):
    """The configuration cannot be used."""

    code = "config_error"


class DatasetError(LookalikeError):
    """The images cannot be found or listed."""

    code = "dataset_error"


class NoImages(DatasetError):
    """There are no images where they should be; they may come."""


class InvalidImage(LookalikeError):
    """The file is in an image format but cannot be decoded."""

    code = "invalid_image"


class UnsupportedImage(InvalidImage):
    """The file is not in an image format that Lookalike reads."""

    code = "unsupported_image"


class DecoderMissing(UnsupportedImage):
    """The file is in a format that Lookalike reads with a library that is not installed."""

    code = "decoder_missing"


class ImageTooLarge(InvalidImage):
    """The image has more pixels, or its file more bytes, than the limit.

    ``width`` and ``height`` are set if the image has too many pixels.
    """

    code = "image_too_large"

    def __init__(
        self, message: str, hint: str = "", width: int | None = None, height: int | None = None
    ) -> None:
        super().__init__(message, hint)
        self.width = width
        self.height = height


class OutOfMemory(LookalikeError):
    """There is not enough memory to decode an image."""

    code = "out_of_memory"


class ExtractionStalled(LookalikeError):
    """Too many files hang at once, so that all others would probably be skipped too."""

    code = "extraction_stalled"


class ClusterUnavailable(LookalikeError):
    """The cluster cannot be reached, or none of its workers can do the work."""

    code = "cluster_unavailable"


class EncoderMismatch(LookalikeError):
    """Vectors of different encoders would be mixed."""

    code = "encoder_mismatch"


class WeightsUnavailable(LookalikeError):
    """The encoder's weights can be neither downloaded nor read from a file."""

    code = "weights_unavailable"


class StoreCorrupt(LookalikeError):
    """A file of the store is damaged or missing, or does not match its record."""

    code = "store_corrupt"


class StoreUnavailable(LookalikeError):
    """The store cannot be read at the moment, for instance because too many files are open."""

    code = "store_unavailable"


class ShardUnavailable(LookalikeError):
    """No replica of a shard answers, so that a part of the images cannot be searched."""

    code = "shard_unavailable"


class StoreBusy(LookalikeError):
    """Another process is writing to the store."""

    code = "store_busy"


class NoPublishedIndex(LookalikeError):
    """The store has no published version."""

    code = "no_published_index"


class UnknownVersion(LookalikeError):
    """The store has no version with this id."""

    code = "unknown_version"


class NoApproximateIndex(LookalikeError):
    """Approximate search was requested of a version without an approximate index."""

    code = "no_approximate_index"


class NoGraph(LookalikeError):
    """The published version has no neighbour graph."""

    code = "no_graph"


class NoMetadataIndex(LookalikeError):
    """A filter or facet was requested of a version without an index of its metadata."""

    code = "no_metadata_index"


class InvalidQuery(LookalikeError):
    """The parameters or the vector of the query cannot be used with this index."""

    code = "invalid_query"


class NoTextMatches(LookalikeError):
    """No text of an image has the words of the query, so that there is nothing to search with."""

    code = "no_text_matches"


class UnknownImage(LookalikeError):
    """The index has no image with this id."""

    code = "unknown_image"


class ImageGone(LookalikeError):
    """The file of an indexed image was removed or changed since it was indexed."""

    code = "image_gone"


class ImageUnreadable(ImageGone):
    """The file of an image exists but cannot be read."""

    code = "unreadable"


class ServerError(LookalikeError):
    """The server cannot start."""

    code = "server_error"


class RemoteError(LookalikeError):
    """A server cannot be reached, refuses the request, or is not Lookalike's.

    ``code`` is that of the server's error, if it sent one.
    """

    code = "remote_error"

    def __init__(self, message: str, hint: str = "", code: str | None = None) -> None:
        super().__init__(message, hint)
        if code is not None:
            self.code = code


class MissingDependency(LookalikeError):
    """A library that the configuration requires is not installed."""

    code = "missing_dependency"


class IndexWouldShrink(LookalikeError):
    """A build would remove a large part of the index, perhaps because a disk is not mounted."""

    code = "index_would_shrink"


class DiskTooSmall(LookalikeError):
    """The disk has too little free space for a build."""

    code = "disk_too_small"


class ExportError(LookalikeError):
    """An export cannot be written where it was asked for."""

    code = "export_error"


class ObjectStorageError(LookalikeError):
    """Object storage cannot be reached, refuses, or holds what cannot be used."""

    code = "object_storage_error"


class IndexesDiffer(LookalikeError):
    """A copy of an index would mix it with another one, or lose what only one of them has."""

    code = "indexes_differ"
