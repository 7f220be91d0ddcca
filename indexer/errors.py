"""Every error Lookalike raises on purpose: what went wrong, and what to do about it."""


class LookalikeError(Exception):
    """Base of all domain errors.

    ``message`` says what is wrong and why, ``hint`` what to do next; ``code`` is the stable,
    machine-readable name of the kind of error, its class's own. HTTP statuses are the server's
    business.
    """

    code: str = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(LookalikeError):
    """The configuration cannot be used."""

    code = "config_error"


class DatasetError(LookalikeError):
    """The images cannot be found or listed."""

    code = "dataset_error"


class InvalidImage(LookalikeError):
    """The bytes claim to be an image but cannot be decoded as one."""

    code = "invalid_image"


class UnsupportedImage(InvalidImage):
    """The bytes are not an image in a format Lookalike reads."""

    code = "unsupported_image"


class ImageTooLarge(InvalidImage):
    """The image has more pixels than the limit allows, or its file more bytes.

    ``width`` and ``height`` are the image's, if they are why.
    """

    code = "image_too_large"

    def __init__(
        self, message: str, hint: str = "", width: int | None = None, height: int | None = None
    ) -> None:
        super().__init__(message, hint)
        self.width = width
        self.height = height


class ExtractionStalled(LookalikeError):
    """So many files take so long that going on would only skip the rest as well."""

    code = "extraction_stalled"


class EncoderMismatch(LookalikeError):
    """Vectors of two different encoders would be mixed."""

    code = "encoder_mismatch"


class WeightsUnavailable(LookalikeError):
    """The encoder's weights can be neither downloaded nor read from a file."""

    code = "weights_unavailable"


class StoreCorrupt(LookalikeError):
    """A file of the store is damaged, missing or not what its marker says."""

    code = "store_corrupt"


class StoreBusy(LookalikeError):
    """Another process is changing the store."""

    code = "store_busy"


class NoPublishedIndex(LookalikeError):
    """The store holds no published version to open."""

    code = "no_published_index"


class UnknownVersion(LookalikeError):
    """The store has no version of this id."""

    code = "unknown_version"


class NoApproximateIndex(LookalikeError):
    """Approximate search was asked of a version that has only exact search."""

    code = "no_approximate_index"


class InvalidQuery(LookalikeError):
    """The query's parameters or vector cannot be used with this index."""

    code = "invalid_query"


class UnknownImage(LookalikeError):
    """No image of the index has this id."""

    code = "unknown_image"


class ImageGone(LookalikeError):
    """An indexed image's file has vanished or changed since it was indexed."""

    code = "image_gone"


class ImageUnreadable(ImageGone):
    """An image's file is there, and the system does not let it be read."""

    code = "unreadable"


class ServerError(LookalikeError):
    """The server cannot start."""

    code = "server_error"


class RemoteError(LookalikeError):
    """A server that was asked refuses, cannot be reached, or answers what Lookalike would not.

    ``code`` is the server's own where it gave one: that of the error it answered with.
    """

    code = "remote_error"

    def __init__(self, message: str, hint: str = "", code: str | None = None) -> None:
        super().__init__(message, hint)
        if code is not None:
            self.code = code


class MissingDependency(LookalikeError):
    """A library that the configuration asks for is not installed."""

    code = "missing_dependency"


class DiskTooSmall(LookalikeError):
    """The disk cannot hold what a build would write."""

    code = "disk_too_small"
