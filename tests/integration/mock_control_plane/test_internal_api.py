"""The mock's own behaviour: what it answers, and that what it shows is safe to look at."""

import subprocess
import sys
from typing import Any

import httpx
import pytest

from tests.integration.mock_control_plane.running import ROOT, RunningControlPlane, build_environment

EXECUTION_ID = "exec_20260115_a1b2c3d4"
RESULT_PATH = f"/internal/executions/{EXECUTION_ID}/result"


def _make_result(**fields: Any) -> dict[str, Any]:
    return {
        "execution_id": EXECUTION_ID,
        "status": "success",
        "reason": "Completed",
        "exit_code": 0,
        "execution_time": 0.1,
        "metrics": {"duration_ms": 100.0},
        **fields,
    }


async def test_the_first_result_is_new_its_repeat_is_known_and_another_one_conflicts(client: httpx.AsyncClient) -> None:
    answers = [
        await client.post(RESULT_PATH, json=_make_result()),
        await client.post(RESULT_PATH, json=_make_result(unknown_field="ignored")),
        await client.post(RESULT_PATH, json=_make_result(stdout="other")),
        await client.post(RESULT_PATH, json=_make_result()),
    ]
    assert [answer.status_code for answer in answers] == [201, 200, 409, 200]


async def test_what_a_control_plane_would_not_take_is_not_taken(client: httpx.AsyncClient) -> None:
    heartbeat = f"/internal/executions/{EXECUTION_ID}/heartbeat"
    unready = {"container_id": "c", "executor_port": 0, "ready_at": "2026-01-15T12:00:00Z"}
    calls: list[tuple[str, object, int]] = [
        ("/internal/executions/nonsense/heartbeat", {"timestamp": "2026-01-15T12:00:00Z"}, 404),
        (heartbeat, {"timestamp": "yesterday"}, 422),
        (heartbeat, ["no object"], 422),
        (RESULT_PATH, {"execution_id": EXECUTION_ID}, 422),
        (RESULT_PATH, _make_result(execution_id="exec_20260115_zzzzzzzz"), 422),
        ("/internal/containers/ready", unready, 422),
        ("/internal/elsewhere", {}, 404),
    ]
    answers = [(await client.post(path, json=body)).status_code for path, body, _ in calls]
    assert answers == [status for _, _, status in calls]
    assert (await client.get("/")).json() == []


async def test_a_wrong_token_gets_401_and_is_not_shown(control_plane: RunningControlPlane) -> None:
    for token in ("x", "wrong-token", "token-of-the-mock-tests-and-more"):
        async with control_plane.client(token) as stranger:
            assert (await stranger.post(RESULT_PATH, json=_make_result())).status_code == 401
    refused = control_plane.wait_for_line("refused")
    assert refused == f'refused  401 "{RESULT_PATH}" "the bearer token is missing or wrong"'
    assert "token-of-the-mock-tests" not in "".join(control_plane.lines)


async def test_output_of_user_code_reaches_neither_terminal_nor_browser_as_it_is(
    control_plane: RunningControlPlane, client: httpx.AsyncClient
) -> None:
    hostile = "\x1b[2J\r\n<script>alert(1)</script>\u202e\x7f\x9b"
    body = _make_result(stdout=hostile, return_value=hostile, artifacts=[hostile])
    await client.post(RESULT_PATH, json=body)
    line = control_plane.wait_for_line("result")
    assert line.isascii()
    assert line.isprintable()
    page = await client.get("/", headers={"Accept": "text/html"})
    assert "<script>" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert (await client.get("/")).json()[0]["body"]["stdout"] == hostile


async def test_of_a_large_result_only_the_end_is_kept(client: httpx.AsyncClient) -> None:
    large = _make_result(stdout="x" * 10_000_000 + "end", return_value=["y"] * 100_000)
    assert [(await client.post(RESULT_PATH, json=large)).status_code for _ in range(2)] == [201, 200]
    shown = (await client.get("/")).text
    assert len(shown) < 20_000
    assert "xend" in shown


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "INTERNAL_API_TOKEN must be 1 to 4096 visible ASCII characters"),
        ({"INTERNAL_API_TOKEN": "two words"}, "INTERNAL_API_TOKEN must be 1 to 4096 visible ASCII characters"),
        ({"INTERNAL_API_TOKEN": "t", "INTERNAL_API_TOKEN_FILE": "/x"}, "are both set"),
        ({"INTERNAL_API_TOKEN_FILE": "/does/not/exist"}, "INTERNAL_API_TOKEN_FILE names a file that cannot be read"),
        ({"INTERNAL_API_TOKEN": "t", "PORT": "many"}, "PORT is 'many', which is no port; for example PORT=8000"),
    ],
)
def test_a_wrong_environment_ends_the_start_with_one_line(environment: dict[str, str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mock_control_plane"],
        cwd=ROOT,
        env=build_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("mock_control_plane: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "two words" not in done.stderr
