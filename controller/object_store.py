"""The object store: S3, Google Cloud Storage, Azure or a folder, behind the few calls that are made of it.

The only module that knows obstore. Controller and log API use it; executors never do: they are given URLs, each
good for one object. What obstore raises may quote a request, so of it no more than the kind is told.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from controller.errors import SettingsError, StoreError, StoreNotFound
from controller.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

    AnyStore = S3Store | GCSStore | AzureStore | LocalStore

READ_BYTES: Final = 256 * 1024
"""Of a piece of an object that is read: more than one is in memory nowhere."""
_CALL_S: Final = 10.0
_READ_S: Final = 3600.0
"""For all of an answer: whoever reads slowly is waited for by those who read for them."""
_RETRIES: Final = 2
_AZURE_PUT: Final = {"x-ms-blob-type": "BlockBlob"}
_CREDENTIALS_LENGTH: Final = 65_536
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the store is. ``prefix``: before each key; ``credentials``: a folder, each file an option of obstore."""

    url: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    allow_http: bool = False
    credentials: Path | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """One object as it is listed."""

    key: str
    size: int
    modified: datetime


class ObjectStore:
    """One bucket, or one folder. Keys are relative to the prefix, and made of ``names.output_key``."""

    def __init__(self, place: Place) -> None:
        """Reads the credentials; asks nobody anything.

        Raises:
            SettingsError: the options contradict each other, or the credentials cannot be read.
        """
        self._place = place
        self._version: object = None
        self._store: AnyStore | None = None
        _ = self._current()

    @property
    def is_local(self) -> bool:
        """Whether it is a folder, for which nobody signs URLs."""
        return self._place.url.startswith("file://")

    @property
    def put_headers(self) -> dict[str, str]:
        """What a signed PUT has to be sent with."""
        return dict(_AZURE_PUT) if self._place.url.startswith("az://") else {}

    def uri(self, key: str) -> str:
        """Where an object is, for people and tools that have credentials of the store."""
        return f"{self._place.url.rstrip('/')}/{self._full(key)}"

    async def sign_put(self, keys: Sequence[str], expires_in_s: float) -> list[str]:
        """A URL for one PUT of each object.

        Raises:
            StoreError: there are no credentials, or those who give them do not answer.
        """
        import obstore

        store: Any = self._current()
        with _translated():
            async with asyncio.timeout(_CALL_S):
                paths = [self._full(key) for key in keys]
                return list(await obstore.sign_async(store, "PUT", paths, timedelta(seconds=expires_in_s)))

    async def size_of(self, key: str) -> int | None:
        """Bytes; None when there is no such object.

        Raises:
            StoreError: the store does not say.
        """
        import obstore

        try:
            with _translated():
                async with asyncio.timeout(_CALL_S):
                    return (await obstore.head_async(self._current(), self._full(key)))["size"]
        except StoreNotFound:
            return None

    async def open(self, key: str, offset: int = 0) -> tuple[int, AsyncIterator[bytes]]:
        """(size, pieces from the offset on) of an object.

        Raises:
            StoreNotFound, StoreError: it is not there, or does not come; also from the pieces.
        """
        import obstore

        with _translated():
            async with asyncio.timeout(_CALL_S):
                options: Any = {"range": {"offset": offset}} if offset else None
                found = await obstore.get_async(self._current(), self._full(key), options=options)
        return found.meta["size"], _pieces(found)

    async def write(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """Writes an object whole or, where the pieces end with an exception, not at all.

        Raises:
            StoreError: it could not be written.
        """
        import obstore

        with _translated():
            await obstore.put_async(self._current(), self._full(key), pieces, use_multipart=True)

    async def list(self, prefix: str = "") -> AsyncIterator[list[Stored]]:
        """All objects below a prefix, some hundred at a time.

        Raises:
            StoreError: the store does not say.
        """
        import obstore

        at = self._full("")
        with _translated():
            async for chunk in obstore.list(self._current(), self._full(prefix) or None, chunk_size=500):
                yield [Stored(row["path"].removeprefix(at), row["size"], row["last_modified"]) for row in chunk]

    async def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects; one that is gone already is no error.

        Raises:
            StoreError: some may be left.
        """
        import obstore

        for key in keys if self.is_local else ():
            try:
                with _translated():
                    await obstore.delete_async(self._current(), self._full(key))
            except StoreNotFound:
                continue
        if not self.is_local and (paths := [self._full(key) for key in keys]):
            with _translated():
                await obstore.delete_async(self._current(), paths)

    def _full(self, key: str) -> str:
        return f"{self._place.prefix}/{key}" if self._place.prefix else key

    def _current(self) -> "AnyStore":
        """The store, made anew when its credentials were replaced."""
        version = _version(self._place.credentials)
        if self._store is None:
            self._store, self._version = _make(self._place, read_options(self._place.credentials)), version
        elif version != self._version:
            self._version = version
            try:
                self._store = _make(self._place, read_options(self._place.credentials))
            except SettingsError as error:
                logger.error("the new credentials cannot be used; the ones before are used on", error=str(error))
        return self._store


def read_options(folder: Path | None) -> dict[str, str]:
    """What obstore is told besides the place, by the names of the files: ``aws_access_key_id`` and so on.

    Raises:
        SettingsError: a file cannot be read. The text never holds what is in it.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()) if folder is not None and folder.is_dir() else ():
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"the object store's credential {path.name} cannot be read: {type(error).__name__}"
            ) from None
        if len(text) > _CREDENTIALS_LENGTH:
            raise SettingsError(f"the object store's credential {path.name} is longer than {_CREDENTIALS_LENGTH}")
        found[path.name.lower()] = text.strip()
    return found


def _version(folder: Path | None) -> object:
    """Changes when the kubelet puts other credentials there: it swaps one link."""
    if folder is None:
        return None
    link = folder / "..data"
    try:
        return link.readlink() if link.is_symlink() else folder.stat().st_mtime_ns
    except OSError:
        return None


def _make(place: Place, options: Mapping[str, str]) -> "AnyStore":
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

    parts = urlsplit(place.url)
    client: Any = {"allow_http": place.allow_http, "connect_timeout": "5s", "timeout": f"{_READ_S:.0f}s"}
    retry: Any = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_CALL_S)}
    config: dict[str, Any] = dict(options)
    shared: dict[str, Any] = {"client_options": client, "retry_config": retry}
    if place.endpoint:
        config["azure_endpoint" if parts.scheme == "az" else "aws_endpoint"] = place.endpoint
    if place.region:
        config["aws_region"] = place.region
    try:
        match parts.scheme:
            case "s3":
                return S3Store(parts.netloc, config=config, **shared)  # type: ignore[arg-type]
            case "gs":
                return GCSStore(parts.netloc, config=config, **shared)  # type: ignore[arg-type]
            case "az":
                return AzureStore(parts.netloc, config=config, **shared)  # type: ignore[arg-type]
            case _:
                return LocalStore(parts.path)
    except (BaseError, ValueError, OSError) as error:
        kind = type(error).__name__
        raise SettingsError(
            f"the object store {place.url} cannot be used with these options ({kind}): check its URL, its region, and "
            "that the Secret's keys are options of obstore, such as aws_access_key_id and aws_secret_access_key"
        ) from None


async def _pieces(found: Any) -> AsyncIterator[bytes]:
    with _translated():
        async for piece in found.stream(min_chunk_size=READ_BYTES):
            yield bytes(piece)


@contextmanager
def _translated() -> "Iterator[None]":
    """Foreign exceptions as ours, without their text: it may quote a URL."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise StoreNotFound("the object store has no such object") from None
    except TimeoutError:
        raise StoreError("the object store does not answer") from None
    except (BaseError, OSError, ValueError) as error:
        raise StoreError(f"the object store refuses, or does not answer ({type(error).__name__})") from None
