"""Object storage, and whatever else fsspec reaches: the objects below an address.

Nothing of it is imported, and nothing asked of a network, unless an address was given.
"""

import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from indexer.config import is_address
from indexer.errors import ConfigError, LookalikeError, MissingDependency, ObjectStorageError

try:
    import fsspec
    from fsspec.callbacks import Callback
except ImportError as error:
    raise MissingDependency(
        f"Object storage is reached by fsspec, which cannot be imported: {error}.",
        "Install it with: pip install 'lookalike[s3]'",
    ) from error

NO_CREDENTIALS = {
    "CredentialRetrievalError",
    "DefaultCredentialsError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "TokenRetrievalError",
}
"""What the libraries of S3 and Google Cloud raise if they find no credentials, by name."""

CREDENTIALS_HINT = (
    "Give credentials as the provider's own tools take them: for S3 AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; docs/storage.md says more."
)
CHANGED_CODES = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
"""What S3 answers to a conditional write if the object has changed."""

EMPTY_CODES = {"InvalidRange", "416"}
"""What S3 answers if a part of an object is asked for that has no bytes at all."""

TIMES = ("LastModified", "Last-Modified", "mtime", "last_modified", "updated", "created")
"""What the libraries of the storages call the time an object was written."""

LOCAL = {"file", "local"}


class ObjectChanged(LookalikeError):
    """An object is no longer what it was when it was read: somebody else has written it."""

    code = "object_changed"


class StoredObject(NamedTuple):
    """An object as a listing has it."""

    size: int
    tag: str | None
    """What changes with its content: the ETag, or else the time it was written."""
    mtime_ns: int
    """When it was written; 0 if the storage does not say."""


class ObjectFolder:
    """The objects below an address such as ``s3://bucket/path``, by their names relative to it.

    Safe between threads. Settings and credentials are those of the provider's own tools and of
    fsspec; retries are fsspec's. Every method raises :class:`~indexer.errors.ObjectStorageError` if
    the storage cannot be reached or refuses. Raises :class:`~indexer.errors.ConfigError` for what
    is no address and :class:`~indexer.errors.MissingDependency` without the library it needs.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        if not is_address(self.address):
            raise ConfigError(
                f"{address} is no address.", "Give one like s3://bucket/path or file:///folder."
            )
        protocol = address.partition("://")[0]
        # Listings must be those of now, not of an earlier call in this process.
        options = {"use_listings_cache": False, "skip_instance_cache": True}
        if protocol in LOCAL:
            options["auto_mkdir"] = True
        with self._explained(self.address):
            if protocol not in fsspec.available_protocols():
                raise ConfigError(f"{address} begins with {protocol}, which fsspec does not know.")
            self._files, root = fsspec.url_to_fs(self.address, **options)
        self._root = root.rstrip("/")

    def list(self) -> dict[str, StoredObject]:
        """Return all objects by name; none if there is nothing at the address."""
        with self._explained(self.address):
            found = self._files.find(self._root, detail=True)
        start = len(self._root) + 1
        below = ((path[start:], info) for path, info in found.items())
        return {name: _stored(info) for name, info in below if name}

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the content of a small object, or None if it does not exist.

        Raises :class:`ObjectTooLarge` if it has more than ``limit`` bytes.
        """
        try:
            with self._explained(self._address_of(name)):
                content = bytes(self._files.cat_file(self._path(name), start=0, end=limit + 1))
        except ObjectGone:
            return None
        except ObjectStorageError as error:
            if _answer_code(error.__cause__) not in EMPTY_CODES:
                raise
            content = b""
        if len(content) > limit:
            raise ObjectTooLarge(
                f"{self._address_of(name)} has more than {limit:,} bytes.", "Check the address."
            )
        return content

    def open(self, name: str, size: int) -> BinaryIO:
        """Return an object of so many bytes as a file. What is read of it is asked for then."""
        return cast("BinaryIO", _ObjectFile(self, name, size))

    def read_part(self, name: str, start: int, size: int) -> bytes:
        """Return so many bytes of an object. Raises :class:`ObjectGone`."""
        with self._explained(self._address_of(name)):
            part = bytes(self._files.cat_file(self._path(name), start=start, end=start + size))
        if len(part) > size:
            raise ObjectStorageError(
                f"The server of {self._address_of(name)} gives no parts of files.", "Download it."
            )
        return part

    def status(self, name: str) -> StoredObject | None:
        """Return what a listing would have of one object; None if it does not exist."""
        try:
            with self._explained(self._address_of(name)):
                return _stored(self._files.info(self._path(name)))
        except ObjectGone:
            return None

    def tag(self, name: str) -> str | None:
        """Return what tells the object's content from others; None if there is no such object."""
        found = self.status(name)
        return found and found.tag

    def download(self, name: str, path: Path, progress: Callable[[int], None]) -> None:
        """Write an object to a file; ``progress`` is called with the number of bytes, in parts.

        What it raises ends the download. Raises :class:`OSError` if the disk is full.
        """
        with self._explained(self._address_of(name)):
            self._files.get_file(self._path(name), str(path), callback=_Callback(progress))

    def upload(
        self, path: Path, name: str, progress: Callable[[int], None], *, is_new: bool
    ) -> None:
        """Write a file to an object; ``progress`` is as in :meth:`download`.

        Raises :class:`ObjectChanged` if it ``is_new`` and exists, where the storage can tell.
        """
        mode = "create" if is_new else "overwrite"
        with self._explained(self._address_of(name)):
            self._files.put_file(
                str(path), self._path(name), callback=_Callback(progress), mode=mode
            )

    def replace(self, name: str, content: bytes, expected: str | None) -> None:
        """Write a small object, provided that its :meth:`tag` is still the expected one.

        S3 compares and writes in one step; elsewhere another writer may come between. Raises
        :class:`ObjectChanged`.
        """
        if self.tag(name) != expected:
            raise _changed(self._address_of(name))
        conditions: dict[str, str] = {} if expected else {"mode": "create"}
        if expected and "s3" in _protocols(self._files):
            conditions = {"IfMatch": expected}
        with self._explained(self._address_of(name)):
            self._files.pipe_file(self._path(name), content, **conditions)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects."""
        paths = [self._path(name) for name in names]
        if paths:
            with self._explained(self.address):
                self._files.rm(paths)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _address_of(self, name: str) -> str:
        return f"{self.address}/{name}"

    @contextmanager
    def _explained(self, address: str) -> Iterator[None]:
        """Turn what the libraries of a storage raise into errors that say what to do."""
        try:
            yield
        except LookalikeError:
            raise
        except ImportError as error:
            raise MissingDependency(
                f"{address} needs a library that is not installed: {error}.",
                "Install it; for s3://: pip install 'lookalike[s3]'",
            ) from None
        except Exception as error:  # each of the libraries has its own
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # of the disk here
            raise _explain(error, address) from error


class _ObjectFile(RawIOBase):
    """An object as a file, read part by part."""

    def __init__(self, folder: ObjectFolder, name: str, size: int) -> None:
        self._folder, self._name, self._size = folder, name, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        starts = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self._size}
        self._position = starts[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._position)
        size = left if size < 0 else min(size, left)
        part = self._folder.read_part(self._name, self._position, size) if size else b""
        self._position += size
        return part


class ObjectGone(ObjectStorageError):
    """The object, or the bucket, does not exist."""


class ObjectTooLarge(ObjectStorageError):
    """The object has more bytes than expected."""


class _Callback(Callback):  # type: ignore[misc]  # fsspec has no types
    """Passes the number of bytes on, in parts."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        super().__init__()
        self._progress = progress

    def relative_update(self, inc: int = 1) -> None:
        self._progress(inc)


def _stored(info: dict[str, Any]) -> StoredObject:
    written = next((info[name] for name in TIMES if info.get(name) is not None), None)
    tag = info.get("ETag") or info.get("etag")
    if tag is None:
        tag = "-".join(str(info[name]) for name in (*TIMES, "ino") if name in info) or None
    return StoredObject(int(info.get("size") or 0), tag, _ns(written))


def _ns(written: Any) -> int:
    """Return a time as a storage's library gives it, in nanoseconds; 0 if it is none."""
    if isinstance(written, str):
        try:
            is_http = "," in written  # Wed, 21 Oct 2015 07:28:00 GMT
            written = parsedate_to_datetime(written) if is_http else datetime.fromisoformat(written)
        except ValueError:
            return 0
    if isinstance(written, datetime):
        written = written.timestamp()
    return int(written * 10**9) if isinstance(written, int | float) else 0


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _explain(error: Exception, address: str) -> LookalikeError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, FileExistsError) or _answer_code(error) in CHANGED_CODES:
        return _changed(address)
    if isinstance(error, FileNotFoundError) and not _is_unknown(error.__cause__):
        return ObjectGone(
            f"{address} does not exist.", "Check the address. Lookalike makes no buckets."
        )
    if isinstance(error, PermissionError):
        return ObjectStorageError(f"{address} refuses access: {reason}.", CREDENTIALS_HINT)
    if type(error).__name__ in NO_CREDENTIALS:
        return ObjectStorageError(f"There are no credentials for {address}.", CREDENTIALS_HINT)
    return ObjectStorageError(
        f"{address} cannot be reached: {reason}.",
        "Check the address and the network, then run it again: what has arrived is kept.",
    )


def _is_unknown(cause: BaseException | None) -> bool:
    """Tell whether an object may exist: fsspec takes every error of HTTP for a missing one.

    The error of aiohttp behind it has the answer's status, or none if there was no answer.
    """
    is_http = cause is not None and type(cause).__module__.startswith("aiohttp")
    return is_http and getattr(cause, "status", None) not in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


def _changed(address: str) -> ObjectChanged:
    return ObjectChanged(
        f"{address} was written by somebody else meanwhile.",
        "Run it again when they are done: it compares what is there then.",
    )


def _answer_code(error: BaseException | None) -> str | None:
    """Return the code of a storage's answer, as botocore keeps it behind an error."""
    response = getattr(error and error.__cause__, "response", None) or {}
    code = response.get("Error", {}).get("Code")
    return None if code is None else str(code)
