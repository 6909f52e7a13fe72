"""URLs for outputs: for whom, for how much and for how long; and what the store has to say of a result."""

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from contracts import bounds
from contracts.control_plane_api import ResultReport
from contracts.outputs import OutputLimits, OutputMetadata, OutputsMissing, UploadRequest
from controller.errors import StoreError, UploadRefused
from controller.object_store import ObjectStore, Place
from controller.tracking import Tracked
from controller.uploads import LOCAL_PATH, URL_LIFETIME_S, LocalSigner, Uploads
from tests.unit.controller.builders import NOW, make_execution, make_report

LIMITS = OutputLimits(object_bytes=1000, total_bytes=2500)


def describe(content: bytes, name: str = "stdout") -> OutputMetadata:
    return OutputMetadata(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


async def in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


class Bench:
    """Uploads into a folder, at a time that the test says."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.signer = LocalSigner(b"key", lambda: self.now)
        self.store = ObjectStore(Place(f"file://{folder}"))
        self.uploads = Uploads(self.store, LIMITS, self.signer)
        self.tracked = Tracked(make_execution(status={"phase": "Running", "attempt": 2}))

    async def sign(self, *outputs: OutputMetadata) -> list[tuple[str, dict[str, str]]]:
        """(key, query) of each URL."""
        answer = await self.uploads.sign(self.tracked, UploadRequest(outputs=list(outputs)))
        parts = [urlsplit(upload.url) for upload in answer.uploads]
        return [
            (part.path.removeprefix(f"{LOCAL_PATH}/"), {name: found[0] for name, found in parse_qs(part.query).items()})
            for part in parts
        ]

    def accepts(self, key: str, query: dict[str, str], **changed: Any) -> bool:
        given = {"key": key, "size": int(query["size"]), "expires": int(query["expires"]), **changed}
        return self.signer.accepts(signature=query["signature"], **given)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_key_is_of_namespace_uid_attempt_and_content(bench: Bench) -> None:
    content = describe(b"hello")
    [(key, query)] = await bench.sign(content)
    assert key == f"tenant/uid-one/2/{content.sha256}"
    assert bench.accepts(key, query)


async def test_a_url_is_good_for_one_key_one_size_and_a_minute_and_a_half(bench: Bench) -> None:
    [(key, query)] = await bench.sign(describe(b"hello"))
    other = key.replace("/2/", "/3/")
    assert not bench.accepts(other, query)
    assert not bench.accepts(key, query, size=6)
    assert not bench.accepts(key, query, expires=int(query["expires"]) + 1)
    bench.now = NOW + timedelta(seconds=URL_LIFETIME_S - 1)
    assert bench.accepts(key, query)
    bench.now = NOW + timedelta(seconds=URL_LIFETIME_S + 1)
    assert not bench.accepts(key, query)
    assert not LocalSigner(b"other key", lambda: NOW).accepts(key, 5, int(query["expires"]), query["signature"])


async def test_what_is_written_is_what_was_signed(bench: Bench, tmp_path: Path) -> None:
    [(key, _)] = await bench.sign(describe(b"hello"))
    with pytest.raises(UploadRefused, match="content is not the one"):
        await bench.uploads.take(key, 5, in_pieces(b"hel", b"l0"))
    with pytest.raises(UploadRefused, match="not of 5 bytes"):
        await bench.uploads.take(key, 5, in_pieces(b"hello", b"!"))
    with pytest.raises(UploadRefused, match="not of 5 bytes"):
        await bench.uploads.take(key, 5, in_pieces(b"hell"))
    assert [found async for page in bench.store.list() for found in page] == []
    await bench.uploads.take(key, 5, in_pieces(b"hel", b"lo"))
    assert (tmp_path / key).read_bytes() == b"hello"


async def test_no_more_is_signed_than_one_execution_may_store(bench: Bench) -> None:
    with pytest.raises(UploadRefused, match="1001 bytes are more"):
        await bench.sign(describe(bytes(1001)))
    parts = [describe(bytes([number]) * 1000, f"artifacts/{number}") for number in range(3)]
    await bench.sign(*parts[:2])
    await bench.sign(*parts[:2])  # a repeat is no more
    with pytest.raises(UploadRefused, match="3 objects of 3000 bytes are more"):
        await bench.sign(parts[2])


async def test_no_more_objects_are_signed_than_a_status_has_rows(bench: Bench) -> None:
    made = [describe(str(number).encode(), f"artifacts/{number}") for number in range(bounds.MAX_OUTPUTS)]
    await bench.sign(*made)
    with pytest.raises(UploadRefused, match="101 objects"):
        await bench.sign(describe(b"one more"))


def report_with(*outputs: OutputMetadata, missing: OutputsMissing | None = None) -> ResultReport:
    return make_report().model_copy(update={"outputs": list(outputs), "outputs_missing": missing})


async def test_a_status_has_what_the_store_has(bench: Bench, tmp_path: Path) -> None:
    there, other, absent = describe(b"there"), describe(b"other", "artifacts/a"), describe(b"absent", "artifacts/b\n")
    for (key, _), content in zip(await bench.sign(there, other), (b"there", b"other"), strict=True):
        await bench.uploads.take(key, 5, in_pieces(content))
    lies = other.model_copy(update={"size": 4, "name": "artifacts/c"})
    seen = await bench.uploads.look(bench.tracked.execution, 2, report_with(there, other, absent, lies))
    assert [(row.name, row.size) for row in seen.kept] == [("stdout", 5), ("artifacts/a", 5)]
    assert seen.kept[0].uri == f"file://{tmp_path}/tenant/uid-one/2/{there.sha256}"
    assert seen.missing == OutputsMissing(
        reason="StoreUnavailable",
        message="the object store does not have 2 that were sent there: 'artifacts/b\\n', 'artifacts/c'",
    )


async def test_another_attempts_objects_are_not_this_ones(bench: Bench) -> None:
    [(key, _)] = await bench.sign(describe(b"there"))
    await bench.uploads.take(key, 5, in_pieces(b"there"))
    seen = await bench.uploads.look(bench.tracked.execution, 3, report_with(describe(b"there")))
    assert seen.kept == ()


async def test_where_the_store_does_not_say_the_executors_word_counts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(key: str) -> int:
        raise StoreError("down")

    monkeypatch.setattr(bench.store, "size_of", fails)
    missing = OutputsMissing(reason="OutputTooLarge", message="b is too large")
    seen = await bench.uploads.look(bench.tracked.execution, 2, report_with(describe(b"x"), missing=missing))
    assert ([row.name for row in seen.kept], seen.missing) == (["stdout"], missing)


def test_the_time_is_asked_anew() -> None:
    times: list[datetime] = [NOW, NOW + timedelta(days=1)]
    signer = LocalSigner(b"key", lambda: times[0])
    url = urlsplit(signer.sign("a/b", 1))
    query = parse_qs(url.query)
    del times[0]
    assert not signer.accepts("a/b", 1, int(query["expires"][0]), query["signature"][0])
