"""Sends what ``outputs`` has gathered to the object store, by URLs that the controller gives for it.

This process has no credentials of the store, and no user code has anything of this: a sandbox has no network. What
is not stored within ``OUTPUT_UPLOAD_S`` is left out, and the execution ends without it: a store that is dead holds a
slot for that long and no longer. URLs are in no log and no error.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

import aiohttp
import structlog
from pydantic import ValidationError
from pydantic_core import to_json
from yarl import URL

from contracts import bounds
from contracts.control_plane_api import uploads_path
from contracts.control_plane_retry import Outcome, judge_status
from contracts.executor_api import ExecutionResult
from contracts.outputs import (
    MissingReason,
    OutputLimits,
    OutputMetadata,
    OutputsMissing,
    Upload,
    UploadAnswer,
    UploadRequest,
)
from executor_runtime.clock import Clock
from executor_runtime.control_plane import Call, ControlPlane
from executor_runtime.outputs import Missing, Source, gather
from executor_runtime.sandbox import Output
from executor_runtime.workspace import Workspace

_AT_A_TIME: Final = 4
_PAUSES_S: Final = (0.2, 1.0, 3.0)
_ASK_PAUSES_S: Final = (0.2, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""A standby leads within 15 s."""
_CONNECT_S: Final = 5.0
_READ_S: Final = 15.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Ended:
    """A run that has ended, and what there is of it."""

    result: ExecutionResult
    output: Output
    workspace: Workspace | None
    report_token: str | None
    stopped: asyncio.Event
    """Set when nobody wants to wait for it: it is cancelled, or this process is to exit."""


class _GivenUp(Exception):
    """Nothing of it can be stored; never leaves this module."""

    def __init__(self, reason: MissingReason, why: str) -> None:
        super().__init__(reason)
        self.reason: MissingReason = reason
        self.why = why


class Uploader:
    """Stores the outputs of executions. One instance a process; ``aclose`` it."""

    def __init__(
        self,
        control_plane: ControlPlane,
        limits: OutputLimits,
        clock: Clock,
        timeout_s: float = bounds.OUTPUT_UPLOAD_S,
    ) -> None:
        self.limits = limits
        self._control_plane = control_plane
        self._clock = clock
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(_AT_A_TIME)

    async def store(self, ended: Ended) -> ExecutionResult:
        """The result with what of it is in the store, and why the rest is not; within ``OUTPUT_UPLOAD_S``."""
        missing = Missing()
        batch = _Batch([])
        storing = asyncio.create_task(self._store(ended, batch, missing), name="outputs")
        stopping = asyncio.create_task(ended.stopped.wait())
        await asyncio.wait({storing, stopping}, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not storing.done():
            late = not ended.stopped.is_set()
            batch.given_up = (
                ("UploadTimedOut", "the object store did not take it in time")
                if late
                else ("UploadStopped", "the execution was cancelled, or its executor was to exit")
            )
        stopping.cancel()
        storing.cancel()
        await asyncio.gather(storing, stopping, return_exceptions=True)
        return _told(ended.result, batch, missing)

    async def aclose(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()

    async def _store(self, ended: Ended, batch: "_Batch", missing: Missing) -> None:
        batch.sources = await asyncio.to_thread(
            gather, ended.result, ended.output, ended.workspace, self.limits, missing
        )
        if not batch.sources:
            return
        try:
            uploads = await self._ask(ended, batch.sources)
            await self._send_all(batch, uploads)
        except _GivenUp as error:
            batch.given_up = (error.reason, error.why)

    async def _ask(self, ended: Ended, sources: list[Source]) -> list[Upload]:
        request = UploadRequest(outputs=[source.metadata for source in sources])
        call = Call(uploads_path(ended.result.execution_id), to_json(request), ended.report_token)
        for pause_s in (*_ASK_PAUSES_S, None):
            answer, body = await self._control_plane.ask(call)
            if answer.outcome is Outcome.ACCEPTED:
                return _parse(body, len(sources))
            if answer.outcome.final or pause_s is None:
                break
            await self._clock.sleep(pause_s)
        log.warning("uploads_not_granted", execution_id=ended.result.execution_id, answer=answer.detail)
        reason: MissingReason = "UploadRefused" if answer.outcome.final else "StoreUnavailable"
        raise _GivenUp(reason, f"the controller gave no URLs for it ({answer.outcome})")

    async def _send_all(self, batch: "_Batch", uploads: list[Upload]) -> None:
        """Each content once; what another has too is there with it."""
        ways = {source.metadata.sha256: (source, upload) for source, upload in zip(batch.sources, uploads, strict=True)}
        async with asyncio.TaskGroup() as group:
            for source, upload in ways.values():
                group.create_task(self._send(batch, source, upload))

    async def _send(self, batch: "_Batch", source: Source, upload: Upload) -> None:
        async with self._slots:
            why = "nothing was tried"
            for pause_s in (*_PAUSES_S, None):
                outcome, why = await self._put(source, upload)
                if outcome is Outcome.ACCEPTED:
                    batch.stored.add(source.metadata.sha256)
                    return
                if pause_s is None or (outcome.final and outcome is not Outcome.DROPPED):
                    break
                await self._clock.sleep(pause_s)
        log.warning("output_not_stored", bytes=source.metadata.size, answer=why)
        batch.refused = why

    async def _put(self, source: Source, upload: Upload) -> tuple[Outcome, str]:
        headers = {**upload.headers, "Content-Length": str(source.metadata.size)}
        url = URL(self._control_plane.resolve(upload.url), encoded=True)  # as it was signed, to the letter
        try:
            async with self._open().put(url, data=_read(source), headers=headers, allow_redirects=False) as response:
                status = response.status
        except TimeoutError:
            return Outcome.UNREACHABLE, "timed out"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome.UNREACHABLE, type(error).__name__  # the text may hold the URL
        return judge_status(status), f"HTTP {status}"

    def _open(self) -> aiohttp.ClientSession:
        """No proxies of the environment, no cookies: the bytes go to whom the URL names, with nothing else."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Content-Type",),  # a store may take it for one of the signed ones
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


@dataclass
class _Batch:
    """What is sent together, and how far that has got."""

    sources: list[Source]

    def __post_init__(self) -> None:
        self.stored: set[str] = set()
        self.refused = ""
        self.given_up: tuple[MissingReason, str] | None = None


def _told(result: ExecutionResult, batch: _Batch, missing: Missing) -> ExecutionResult:
    kept: list[OutputMetadata] = []
    reason: MissingReason = "StoreUnavailable"
    reason, why = batch.given_up or (reason, f"the object store did not take it ({batch.refused})")
    for source in batch.sources:
        if source.metadata.sha256 in batch.stored:
            kept.append(source.metadata)
        else:
            missing.add(source.metadata.name, reason, why)
    told = missing.tell()
    if told is None and batch.given_up is not None and not batch.sources:
        told = OutputsMissing(reason=reason, message=f"the outputs are not in the object store: {why}")
    return result.model_copy(update={"outputs": kept, "outputs_missing": told})


def _parse(body: bytes, count: int) -> list[Upload]:
    try:
        uploads = UploadAnswer.model_validate_json(body).uploads
    except ValidationError:
        uploads = []
    if len(uploads) != count:
        raise _GivenUp("StoreUnavailable", "the controller's answer makes no sense")
    return uploads


async def _read(source: Source) -> AsyncIterator[bytes]:
    pieces = source.pieces()
    while (piece := await asyncio.to_thread(_next, pieces)) is not None:
        yield piece


def _next(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)
