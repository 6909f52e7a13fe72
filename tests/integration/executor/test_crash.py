"""An executor that breaks in a way that nobody foresaw still says goodbye (the seed's T072)."""

from pathlib import Path

import pytest

from executor_runtime import process
from executor_runtime.secret import Redactor, Token
from executor_runtime.settings import Settings
from tests.fakes.control_plane import FakeControlPlane
from tests.integration.executor.conftest import TOKEN

pytestmark = pytest.mark.sandbox


async def test_a_crash_is_told_as_an_error(
    directory: Path, control_plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, up to the point where it would listen; only what breaks is put in by hand."""

    async def break_down(*_: object) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(process._Executor, "live", break_down)
    redactor = Redactor()
    token = Token(TOKEN, None, redactor)
    settings = Settings(
        control_plane_url=control_plane.url,
        internal_api_token=TOKEN,
        host="127.0.0.1",
        executor_port=0,
        workspace_path=directory,
        results_path=directory / "results",
        isolation_mode="best-effort",
        container_id="container-1",
    )
    assert await process._live(settings, process._Tokens(token, Token(None, None, redactor)), redactor) == 1
    (exited,) = control_plane.of("exited")
    assert (exited.body["exit_code"], exited.body["exit_reason"]) == (1, "error")
    assert exited.body["container_id"] == "container-1"
