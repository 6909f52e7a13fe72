"""An executor that is started with the seed's environment variables and reports to something without Kubernetes."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from executor_runtime.sandbox.environment import MINIMUM
from tests.integration.executor.running import RunningExecutor, open_directory, run_executor
from tests.integration.mock_control_plane.running import RunningControlPlane

EXAMPLES = Path(__file__).parents[3] / "examples" / "standalone"
HAS_NODE = shutil.which("node", path="/usr/local/bin:/usr/bin") is not None
LANGUAGES = ("python", "javascript", "shell")

pytestmark = pytest.mark.sandbox


def _read_example(language: str) -> dict[str, Any]:
    request: dict[str, Any] = json.loads((EXAMPLES / f"{language}.json").read_text())
    return request


async def _send(executor: RunningExecutor, language: str) -> httpx.Response:
    async with executor.client() as client:
        return await client.post("/execute", json=_read_example(language))


async def test_the_control_plane_is_told_of_all_in_order(control_plane: RunningControlPlane) -> None:
    answers = {}
    with (
        open_directory() as directory,
        run_executor(
            directory, CONTROL_PLANE_URL=control_plane.url, INTERNAL_API_TOKEN=control_plane.token
        ) as executor,
    ):
        control_plane.wait_for_line("ready")
        for language in LANGUAGES:
            answers[language] = await _send(executor, language)
            if answers[language].status_code == 200:
                control_plane.wait_for_line(f"result    {_read_example(language)['execution_id']}")
        code, _ = executor.terminate()
    assert code == 143
    ran = [language for language in LANGUAGES if language != "javascript" or HAS_NODE]
    _check_answers(answers, ran)

    async with control_plane.client() as client:
        received = (await client.get("/")).json()
    assert [call["kind"] for call in received] == ["ready", *(["result"] * len(ran)), "exited"]
    assert [call["answered"] for call in received] == [200, *([201] * len(ran)), 200]
    assert received[0]["body"]["executor_port"] > 0
    assert {call["body"]["container_id"] for call in (received[0], received[-1])} == {"executor-under-test"}
    assert (received[-1]["body"]["exit_code"], received[-1]["body"]["exit_reason"]) == (143, "sigterm")
    for language, call in zip(ran, received[1:-1], strict=True):
        answered = answers[language].json()
        assert {name: call["body"][name] for name in answered} == answered


def _check_answers(answers: dict[str, httpx.Response], ran: list[str]) -> None:
    for language in ran:
        assert answers[language].status_code == 200, answers[language].text
    python, shell = answers["python"].json(), answers["shell"].json()
    assert (python["stdout"], python["return_value"]) == ("Hello, Ada\n", {"greeting": "Hello, Ada"})
    assert python["artifacts"] == ["greeting.txt"]
    assert (shell["stdout"], shell["return_value"]) == ("Hello, Ada\nstdin says: one line\n", {"answer": 42})
    javascript = answers["javascript"].json()
    if HAS_NODE:
        assert (javascript["stdout"], javascript["return_value"]) == ("Hello, Ada\n", {"greeting": "Hello, Ada"})
    else:
        assert answers["javascript"].status_code == 400
        assert javascript["solution"] == "Use one of: python, shell."


async def test_a_running_execution_is_seen_to_run_and_to_progress(control_plane: RunningControlPlane) -> None:
    code = """echo '{"percent": 40}' >.progress.json; sleep 600"""
    request = {"execution_id": "exec_20260115_progress", "language": "shell", "code": code, "timeout": 600}
    with (
        open_directory() as directory,
        run_executor(
            directory, CONTROL_PLANE_URL=control_plane.url, INTERNAL_API_TOKEN=control_plane.token
        ) as executor,
    ):
        async with executor.client() as client:
            await client.post("/execute", json=request, headers={"Prefer": "respond-async"})
            told = 'heartbeat exec_20260115_progress still runs, progress {"percent": 40}'
            beat = await asyncio.to_thread(control_plane.wait_for_line, told)
            await client.delete("/executions/exec_20260115_progress")
        control_plane.wait_for_line("result    exec_20260115_progress")
    assert beat.endswith(told)


async def test_an_executor_with_another_token_is_refused_and_keeps_its_result(
    control_plane: RunningControlPlane,
) -> None:
    with (
        open_directory() as directory,
        run_executor(
            directory, CONTROL_PLANE_URL=control_plane.url, INTERNAL_API_TOKEN="not-the-right-token"
        ) as executor,
    ):
        assert (await _send(executor, "python")).json()["status"] == "success"
        control_plane.wait_for_line('refused  401 "/internal/executions/exec_20260115_python01/result"')
        assert list(executor.results.rglob("*exec_20260115_python01*"))
        async with control_plane.client() as client:
            assert (await client.get("/")).json() == []
    assert not any("not-the-right-token" in line for line in control_plane.lines)


async def test_the_environment_of_user_code_holds_no_token(control_plane: RunningControlPlane) -> None:
    request = {"execution_id": "exec_20260115_printenv", "language": "shell", "code": "env"}
    with (
        open_directory() as directory,
        run_executor(
            directory, CONTROL_PLANE_URL=control_plane.url, INTERNAL_API_TOKEN=control_plane.token
        ) as executor,
    ):
        async with executor.client() as client:
            printed = (await client.post("/execute", json=request)).json()["stdout"]
    names = {line.partition("=")[0] for line in printed.splitlines()}
    assert names == {*MINIMUM, "EVENT_FILE", "PWD", "SHLVL", "_"}
