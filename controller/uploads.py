"""How executors store outputs: a URL for each object before, and a look at the store after.

An object's key is made here, of the Execution's namespace and uid, the attempt and the content's digest; so nobody
can write over what another Execution, or another attempt, has stored, and a URL that leaks is good for one content
for a minute and a half. What stands in a status is what the store has, as far as it can be asked.
"""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from contracts import bounds
from contracts.control_plane_api import ResultReport
from contracts.execution import StatusOutput
from contracts.outputs import OutputLimits, OutputMetadata, OutputsMissing, Upload, UploadAnswer, UploadRequest
from controller import names
from controller.errors import StoreError, UploadRefused
from controller.facts import OutputsSeen
from controller.logs import get_logger
from controller.object_store import ObjectStore
from controller.resources import Execution
from controller.tracking import Tracked

LOCAL_PATH: Final = "/internal/objects"
URL_LIFETIME_S: Final = bounds.OUTPUT_UPLOAD_S + 30
_LOOK_S: Final = 8.0
"""Less than an executor waits for an answer to its report; what is not known by then is as the executor says."""
_LOOKS_AT_A_TIME: Final = 16
_NAMED: Final = 5
logger = get_logger(__name__)


class LocalSigner:
    """URLs of the controller's own, for a folder: an HMAC over key, size and expiry. One controller only."""

    def __init__(self, key: bytes, now: Callable[[], datetime]) -> None:
        self._key = hmac.new(key, b"object uploads", hashlib.sha256).digest()
        self._now = now

    def sign(self, key: str, size: int) -> str:
        """A path below the internal API's."""
        expires = int(self._now().timestamp() + URL_LIFETIME_S)
        query = {"size": size, "expires": expires, "signature": self._make(key, size, expires)}
        return f"{LOCAL_PATH}/{key}?{urlencode(query)}"

    def accepts(self, key: str, size: int, expires: int, signature: str) -> bool:
        """Whether this one was signed, and its time is not over."""
        good = hmac.compare_digest(self._make(key, size, expires).encode(), signature.encode("utf-8", "replace"))
        return good and self._now().timestamp() <= expires

    def _make(self, key: str, size: int, expires: int) -> str:
        return hmac.new(self._key, f"{key}\n{size}\n{expires}".encode(), hashlib.sha256).hexdigest()


class Uploads:
    """The controller's side of it. ``local`` signs where the store is a folder."""

    def __init__(self, store: ObjectStore, limits: OutputLimits, local: LocalSigner) -> None:
        self._store = store
        self._limits = limits
        self._local = local

    async def sign(self, tracked: Tracked, request: UploadRequest) -> UploadAnswer:
        """URLs for what an attempt that runs wants to store.

        Raises:
            UploadRefused: it is more than one may store.
            StoreError: the store's credentials cannot be had now.
        """
        self._count(tracked, request.outputs)
        keys = [_key(tracked.execution, tracked.attempt, output) for output in request.outputs]
        if self._store.is_local:
            signed = [self._local.sign(key, output.size) for key, output in zip(keys, request.outputs, strict=True)]
        else:
            signed = await self._store.sign_put(keys, URL_LIFETIME_S)
        headers = self._store.put_headers
        return UploadAnswer(uploads=[Upload(url=url, headers=headers) for url in signed])

    async def take(self, key: str, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Stores one object in the folder, if it is what its key says.

        Raises:
            UploadRefused: it is another content, or another size.
            StoreError: it could not be written.
        """
        checked = _Checked(size, key.rpartition("/")[2], pieces)
        try:
            await self._store.write(key, checked.read())
        except StoreError:
            if checked.problem is None:
                raise
        except UploadRefused:
            pass
        if checked.problem is not None:
            raise UploadRefused(checked.problem)

    async def look(self, execution: Execution, attempt: int, report: ResultReport) -> OutputsSeen:
        """What a result has stored: what the store has otherwise, or not at all, is left out and said so."""
        slots = asyncio.Semaphore(_LOOKS_AT_A_TIME)

        async def is_there(output: OutputMetadata) -> bool:
            try:
                async with slots:
                    return await self._store.size_of(_key(execution, attempt, output)) == output.size
            except StoreError as error:
                logger.warning("stored output could not be looked at", error=str(error), execution=execution.name)
                return True  # the executor has the store's word for it

        claimed = report.outputs[: bounds.MAX_OUTPUTS]
        looks = [asyncio.ensure_future(is_there(output)) for output in claimed]
        _, late = await asyncio.wait(looks, timeout=_LOOK_S) if looks else (set(), set())
        for look in late:
            look.cancel()
        absent = [output for output, look in zip(claimed, looks, strict=True) if look not in late and not look.result()]
        kept = [self._row(execution, attempt, output) for output in claimed if output not in absent]
        return OutputsSeen(tuple(kept), _add_absent(report.outputs_missing, absent))

    def _row(self, execution: Execution, attempt: int, output: OutputMetadata) -> StatusOutput:
        return StatusOutput(
            name=output.name,
            size=output.size,
            sha256=output.sha256,
            media_type=output.media_type,
            uri=self._store.uri(_key(execution, attempt, output)),
            truncated=output.truncated or None,
        )

    def _count(self, tracked: Tracked, outputs: list[OutputMetadata]) -> None:
        wanted = tracked.uploads | {output.sha256: output.size for output in outputs}
        largest, total = max(wanted.values()), sum(wanted.values())
        if largest > self._limits.object_bytes:
            raise UploadRefused(f"{largest} bytes are more than an object may have: {self._limits.object_bytes}")
        if total > self._limits.total_bytes or len(wanted) > bounds.MAX_OUTPUTS:
            raise UploadRefused(
                f"{len(wanted)} objects of {total} bytes are more than an execution may store: {bounds.MAX_OUTPUTS} of "
                f"{self._limits.total_bytes} bytes together"
            )
        tracked.uploads = wanted


class _Checked:
    """Pieces that end with an exception where they are not what was signed for."""

    def __init__(self, size: int, sha256: str, pieces: AsyncIterator[bytes]) -> None:
        self.problem: str | None = None
        self._size, self._sha256, self._pieces = size, sha256, pieces

    async def read(self) -> AsyncIterator[bytes]:
        digest, read = hashlib.sha256(), 0
        async for piece in self._pieces:
            read += len(piece)
            if read > self._size:
                break
            digest.update(piece)
            yield piece
        if read != self._size:
            self._refuse(f"the object is not of {self._size} bytes, as was signed")
        if digest.hexdigest() != self._sha256:
            self._refuse("the object's content is not the one that was signed")

    def _refuse(self, problem: str) -> None:
        self.problem = problem
        raise UploadRefused(problem)


@dataclass(frozen=True, slots=True)
class LocalObjects:
    """What takes objects where the store is a folder."""

    signer: LocalSigner
    uploads: Uploads


def _key(execution: Execution, attempt: int, output: OutputMetadata) -> str:
    return names.output_key(execution.namespace, execution.uid, attempt, output.sha256)


def _add_absent(missing: OutputsMissing | None, absent: list[OutputMetadata]) -> OutputsMissing | None:
    if not absent:
        return missing
    told = ", ".join(ascii(output.name[:60]) for output in absent[:_NAMED])
    text = f"the object store does not have {len(absent)} that were sent there: {told}"
    if missing is None:
        return OutputsMissing(reason="StoreUnavailable", message=text)
    return missing.model_copy(update={"message": f"{missing.message}; {text}"[:2048]})
