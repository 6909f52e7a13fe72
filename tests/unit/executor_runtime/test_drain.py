"""The preStop hook."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from contracts.executor_api import Health
from executor_runtime.drain import SETTLED_S, count_active, main, wait_until_idle


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def wait(busy_until: list[tuple[float, float]], limit_s: float) -> tuple[bool, float]:
    """(the answer, when it came) of an executor that is busy in these spans of time."""
    clock = Clock()

    def active() -> int:
        return sum(begin <= clock.now_s < end for begin, end in busy_until)

    return wait_until_idle(active, limit_s, clock.now, clock.sleep), clock.now_s


def test_an_idle_executor_is_waited_for_only_until_it_has_settled() -> None:
    idle, at = wait([], 30)
    assert idle
    assert SETTLED_S <= at < SETTLED_S + 0.5


def test_a_run_is_waited_for_to_its_end() -> None:
    idle, at = wait([(0, 12)], 30)
    assert idle
    assert 12 + SETTLED_S <= at < 14


def test_a_dispatch_that_was_under_way_counts() -> None:
    idle, at = wait([(0.5, 5)], 30)
    assert idle
    assert at >= 5 + SETTLED_S


def test_a_run_that_is_too_long_is_given_up_in_time() -> None:
    idle, at = wait([(0, 100)], 30)
    assert not idle
    assert 30 <= at < 31


@pytest.mark.parametrize("arguments", [[], ["soon"], ["1", "2"]])
def test_wrong_usage_is_said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage:" in capsys.readouterr().err


class _Answers(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(("active", "unsent"), [(0, 0), (2, 0), (0, 3), (1, 1)])
def test_what_runs_and_what_is_not_told_yet_are_waited_for(port: int, active: int, unsent: int) -> None:
    health = Health(
        version="1",
        uptime_seconds=1,
        active_executions=active,
        unsent_reports=unsent,
        isolation="full",
        run_id="a" * 32,
    )
    _Answers.body = health.model_dump_json().encode()
    assert count_active(port) == active + unsent


def test_what_is_no_executor_is_not_waited_for(port: int) -> None:
    _Answers.body = b"no"
    assert count_active(port) == 0


def test_nobody_is_not_waited_for() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert count_active(bound.getsockname()[1]) == 0


def test_an_executor_that_is_too_busy_to_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor_runtime.drain._TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert count_active(silent.getsockname()[1]) == 1
