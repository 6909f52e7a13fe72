"""What an Execution has in the operator's object store, read through the Kubernetes API (``docs/outputs.md``).

Nobody needs credentials of the store. What comes is compared with the SHA-256 in the Execution's status before it is
given to the caller, or stands under its name. Names are user code's: ``safe_path`` makes a path of one that leads
nowhere but down.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from sandbox_executor_client.errors import (
    Corrupted,
    Forbidden,
    InvalidExecution,
    NotInstalled,
    Unavailable,
)
from sandbox_executor_client.execution import OutputInfo
from sandbox_executor_client.kube import KubeApi
from sandbox_executor_client.log_api import PAUSES_S, check_installed, subresource_path

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

Fetch = Callable[[int], AsyncGenerator[bytes, None]]
"""The bytes of an output from an offset on."""
MAX_READ_BYTES: Final = 64 * 1_048_576
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069%\\:*?"<>|]')
"""Control characters, what turns the direction of text, and what Windows takes for something else."""
_MAX_PART_BYTES: Final = 255
_ABSENT: Final = (
    "this cluster has no API for outputs: have its operator installed with logAPI.enabled=true (docs/outputs.md)"
)


def outputs_path(namespace: str, name: str) -> str:
    """Where the log API has them."""
    return subresource_path(namespace, name, "outputs")


def safe_path(name: str) -> PurePosixPath:
    """A relative path for an output's name, whatever user code has called it: no part is '..', hidden or absolute.

    What cannot stand in a file's name is written as ``%`` and its bytes, so that two names never become one.
    """
    parts = [_UNSAFE.sub(_escaped, part) for part in name.split("/")]
    safe = [_shortened(_visible(part), name) for part in parts if part]
    return PurePosixPath(*safe) if safe else PurePosixPath("%")


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace"))


def _visible(part: str) -> str:
    """No part begins with a dot: that is '.', '..' and what hides itself. Nor does one end as Windows cuts it off."""
    part = f"%2E{part[1:]}" if part.startswith(".") else part
    return f"{part[:-1]}%{ord(part[-1]):02X}" if part[-1] in ". " else part


def _shortened(part: str, name: str) -> str:
    if len(part.encode("utf-8", "replace")) <= _MAX_PART_BYTES:
        return part
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{part[:50]}%{digest}"


def make_fetch(api: KubeApi, path: str, name: str) -> Fetch:
    """Reads one output by the log API."""

    def fetch(offset: int) -> AsyncGenerator[bytes, None]:
        return _stream(api, path, {"name": name, **({"offset": str(offset)} if offset else {})})

    return fetch


async def _stream(api: KubeApi, path: str, query: dict[str, str]) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(api.stream(path, query, accept="*/*")) as pieces:
            async for piece in pieces:
                yield piece
    except NotInstalled as error:
        raise NotInstalled(_ABSENT, request_id=error.request_id) from None
    except Forbidden:
        await check_installed(api, _ABSENT)
        raise


@dataclass(frozen=True)
class AsyncStoredOutput(OutputInfo):
    """An output that can be read. ``StoredOutput`` is its blocking twin."""

    fetch: Fetch = field(repr=False, compare=False)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Its bytes as they come; a connection that breaks is made again where it broke.

        Raises:
            Corrupted: at the end, when they are not what the status says.
            NotFound: it is not in the store any more. NotInstalled, Forbidden: as for ``AsyncClient.output``.
            Unavailable: it has not come on for about a minute.
        """
        digest, read, failures = hashlib.sha256(), 0, 0
        while True:
            try:
                async with aclosing(self.fetch(read)) as pieces:
                    async for piece in pieces:
                        failures = 0
                        read += len(piece)
                        if read > self.size:
                            raise Corrupted(f"{self.name!r} is longer than {self.size} bytes, which the status says")
                        digest.update(piece)
                        yield piece
                if read < self.size:
                    raise Unavailable(f"{self.name!r} ended after {read} of {self.size} bytes")
                break
            except Unavailable:
                if failures >= len(PAUSES_S):
                    raise
                await asyncio.sleep(PAUSES_S[failures])
                failures += 1
        if digest.hexdigest() != self.sha256:
            raise Corrupted(f"what came as {self.name!r} does not have the SHA-256 that the status says")

    async def read(self, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """All of it, in memory; raises as ``pieces``, and InvalidExecution when it is larger than ``max_bytes``."""
        if self.size > max_bytes:
            raise InvalidExecution(f"{self.name!r} has {self.size} bytes: save it to a file, or allow max_bytes")
        content = bytearray()
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                content += piece
        return bytes(content)

    async def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Writes it to a file, or below a directory that is there under ``safe_path`` of its name; where it is.

        The file is there whole or not at all.

        Raises:
            FileExistsError: there is something, and it may not be overwritten. OSError: it cannot be written.
            Others: as ``pieces``.
        """
        target = await asyncio.to_thread(_prepare, Path(path), self.name, overwrite)
        temporary = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with await asyncio.to_thread(_create, temporary) as file:
                async with aclosing(self.pieces()) as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(_place, temporary, target, overwrite)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        return target


class StoredOutput(OutputInfo):
    """``AsyncStoredOutput`` without ``await``; it reads for as long as its client is open."""

    _output: AsyncStoredOutput
    _portal: "BlockingPortal"

    @classmethod
    def of(cls, portal: "BlockingPortal", output: AsyncStoredOutput) -> Self:
        """The twin of an output, on the event loop of a portal."""
        made = cls(*(getattr(output, each.name) for each in fields(OutputInfo)))
        object.__setattr__(made, "_output", output)
        object.__setattr__(made, "_portal", portal)
        return made

    def read(self, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """``AsyncStoredOutput.read``."""
        return self._portal.call(self._output.read, max_bytes)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """``AsyncStoredOutput.save``."""

        async def save() -> Path:
            return await self._output.save(path, overwrite=overwrite)

        return self._portal.call(save)


def _prepare(path: Path, name: str, overwrite: bool) -> Path:
    target = path / safe_path(name) if path.is_dir() else path
    target.parent.mkdir(parents=True, exist_ok=True)
    if not overwrite and os.path.lexists(target):
        raise FileExistsError(f"{target} exists: save elsewhere, or remove it first")
    return target


def _create(path: Path) -> BinaryIO:
    return path.open("xb")


def _place(temporary: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target, follow_symlinks=False)
    except FileExistsError:
        raise FileExistsError(f"{target} exists: save elsewhere, or remove it first") from None
