"""The spool's directory at a start: whatever a crash, a full disk or somebody else has left in it."""

import asyncio
import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor_runtime.clock import SYSTEM_CLOCK
from executor_runtime.control_plane import ControlPlane
from executor_runtime.logs import configure_logs
from executor_runtime.report import Reporter
from executor_runtime.secret import Redactor, Token
from executor_runtime.spool import Spool, SpooledReport
from tests.unit.controller.builders import make_report
from tests.unit.executor_runtime.answers import sending_to
from tests.unit.fuzz.profile import fuzzed
from tests.unit.fuzz.strategies import bodies

SECRET = "a-report-token-that-nobody-may-see"
ID = "exec_20260115_a1b2c3d4"
ENTRY: dict[str, Any] = {
    "execution_id": ID,
    "idempotency_key": "key-1",
    "saved_at": 1.0,
    "report_token": SECRET,
    "request_id": "request-1",
    "body": make_report(execution_id=ID).model_dump_json(),
}
NOW = datetime(2026, 1, 15, tzinfo=UTC)

names = st.one_of(
    st.sampled_from(
        [f"{ID}.json", f"{ID}.tmp", f"{ID}.corrupt", f"{ID}.refused", "exec_20260115_zzzzzzzz.json", ".probe.tmp"]
    ),
    st.from_regex(rb"\A[^/\0]{1,40}\Z").map(os.fsdecode).filter(lambda name: name not in (".", "..")),
)
kinds = st.one_of(
    bodies(ENTRY),
    st.sampled_from(["directory", "full directory", "fifo", "link to itself", "link outside", "unreadable", "sparse"]),
)


class Place:
    """A directory for the spool, and beside it one that must stay as it is."""

    def __init__(self, root: Path) -> None:
        self.spool, self.outside = root / "spool", root / "outside"
        self.spool.mkdir()
        self.outside.write_bytes(b"of others")

    def put(self, name: str, kind: bytes | str) -> None:
        path = self.spool / name
        match kind:
            case bytes():
                path.write_bytes(kind)
            case "directory" | "full directory":
                path.mkdir()
                if kind == "full directory":
                    (path / "file").touch()
            case "fifo":
                os.mkfifo(path)
            case "link to itself":
                path.symlink_to(path)
            case "link outside":
                path.symlink_to(self.outside)
            case "unreadable":
                path.touch(0o000)
            case "sparse":
                with path.open("wb") as file:
                    file.truncate(2**40)


@pytest.fixture(scope="module")
def log() -> io.StringIO:
    stream = io.StringIO()
    configure_logs("DEBUG", "fuzz", Redactor(), stream)
    return stream


@contextlib.contextmanager
def place() -> Iterator[Place]:
    root = Path(tempfile.mkdtemp(prefix="spool-fuzz-"))
    try:
        yield Place(root)
    finally:
        shutil.rmtree(root)


@fuzzed
@given(st.dictionaries(names, kinds, max_size=4))
def test_a_start_copes_with_whatever_is_in_the_spool(log: io.StringIO, files: dict[str, bytes | str]) -> None:
    with place() as found:
        for name, kind in files.items():
            found.put(name, kind)
        before = len(os.listdir("/proc/self/fd"))
        spool = Spool(found.spool)
        assert spool.waiting_bytes >= 0
        for execution_id in spool.waiting():
            loaded = spool.load(execution_id)
            if loaded is not None:
                assert loaded[0].execution_id == execution_id
                json.loads(loaded[0].body)
                spool.set_aside(loaded[1])
        assert spool.waiting() == []
        shutil.rmtree(found.spool)
        found.spool.mkdir()
        entry = SpooledReport.model_validate({**ENTRY, "body": ENTRY["body"].encode()})
        saved = spool.save(entry)
        assert spool.load(ID) == (entry, saved)
        spool.remove(saved)
        spool.expire(NOW)
        assert len(os.listdir("/proc/self/fd")) == before
        assert found.outside.read_bytes() == b"of others"
    assert SECRET not in log.getvalue()
    log.seek(0)
    log.truncate()


@fuzzed
@given(st.lists(bodies(ENTRY), min_size=1, max_size=2), bodies(ENTRY))
def test_no_file_keeps_the_others_from_being_sent(log: io.StringIO, broken: list[bytes], seen: bytes) -> None:
    sent: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(201, stream=httpx.ByteStream(seen))

    async def replay(directory: Path) -> None:
        client = ControlPlane("http://control-plane", Token("t", None, Redactor()), sending_to(take))
        reporter = Reporter(client, Spool(directory), Redactor(), SYSTEM_CLOCK, lambda outcome, count: None)
        await reporter.replay()
        await client.aclose()

    with place() as found:
        for number, body in enumerate(broken):
            name = f"exec_20260115_{number:08d}.json"
            found.put(name, body.replace(ID.encode(), name.removesuffix(".json").encode()))
            os.utime(found.spool / name, (1, 1))
        good = SpooledReport.model_validate({**ENTRY, "body": ENTRY["body"].encode()})
        Spool(found.spool).save(good)
        for path in found.spool.iterdir():
            os.utime(path, (NOW.timestamp(), SYSTEM_CLOCK.now().timestamp() - (path.name != f"{ID}.json")))
        asyncio.run(replay(found.spool))
        assert any(request.url.path.endswith(f"/{ID}/result") for request in sent)
    assert SECRET not in log.getvalue()
    log.seek(0)
    log.truncate()
