import os
from pathlib import Path

import pytest

from executor_runtime.errors import StartError
from executor_runtime.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)


def refused() -> str:
    with pytest.raises(StartError) as error:
        load_settings()
    line = str(error.value)
    assert "\n" not in line
    return line


def test_defaults_are_the_seeds() -> None:
    settings = load_settings()
    assert settings.control_plane_url is None
    assert (settings.executor_port, settings.log_level, settings.debug) == (8080, "INFO", False)
    assert (settings.workspace_path, settings.results_path) == (Path("/workspace"), Path("/tmp/results"))
    assert settings.max_concurrent_executions == max(2, len(os.sched_getaffinity(0)))
    assert settings.isolation_mode == "strict"
    assert settings.container_id


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "EXECUTOR_PORT",
            "http",
            "EXECUTOR_PORT is 'http', which must be a whole number; for example EXECUTOR_PORT=8080",
        ),
        ("EXECUTOR_PORT", "70000", "must be at most 65535"),
        ("EXECUTOR_PORT", "-1", "must be at least 0"),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL is 'LOUD', which must be one of 'DEBUG', 'INFO'"),
        ("DEBUG", "maybe", "must be true or false; for example DEBUG=true"),
        ("MAX_CONCURRENT_EXECUTIONS", "0", "must be at least 1"),
        ("ISOLATION_MODE", "none", "must be one of 'strict' or 'best-effort'"),
        ("WORKSPACE_RETENTION_SECONDS", "soon", "must be a number"),
        ("CONTROL_PLANE_URL", "control-plane:8000", "must be an http:// or https:// URL"),
        ("CONTROL_PLANE_URL", "http://user:pw@host", "must be an http:// or https:// URL"),
        ("CONTROL_PLANE_URL", "http://host:port", "CONTROL_PLANE_URL"),
        ("CONTROL_PLANE_URL", "http://$(A_SERVICE_HOST):$(A_SERVICE_PORT)", "the kubelet did not know yet"),
        ("CONTAINER_ID", "x" * 300, "CONTAINER_ID"),
        ("EXECUTOR_PORT", "1\n2\x1b[31m", r"'1\n2\x1b[31m'"),
    ],
)
def test_a_wrong_value_is_one_line(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str) -> None:
    monkeypatch.setenv(variable, value)
    line = refused()
    assert line.startswith(variable)
    assert said in line


def test_all_that_is_wrong_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTOR_PORT", "x")
    monkeypatch.setenv("LOG_LEVEL", "x")
    line = refused()
    assert "EXECUTOR_PORT" in line
    assert "LOG_LEVEL" in line


@pytest.mark.parametrize("token", ["two words", "tab\there", "schlüssel"])
def test_a_wrong_token_is_never_shown(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("INTERNAL_API_TOKEN", token)
    line = refused()
    assert line.startswith("INTERNAL_API_TOKEN has a value that must be")
    assert token not in line


def test_a_control_plane_without_a_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTROL_PLANE_URL", "http://cp/prefix/")
    assert refused().startswith("INTERNAL_API_TOKEN is missing")
    monkeypatch.setenv("INTERNAL_API_TOKEN", "t")
    assert load_settings().control_plane_url == "http://cp/prefix"


def test_an_empty_value_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTOR_PORT", "")
    monkeypatch.setenv("CONTROL_PLANE_URL", "")
    assert load_settings().executor_port == 8080


def test_any_value_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "port").write_text("9090\n")
    (tmp_path / "token").write_text("from-a-file\n")
    monkeypatch.setenv("EXECUTOR_PORT_FILE", str(tmp_path / "port"))
    monkeypatch.setenv("INTERNAL_API_TOKEN_FILE", str(tmp_path / "token"))
    settings = load_settings()
    assert settings.executor_port == 9090
    assert settings.internal_api_token is not None
    assert settings.internal_api_token.get_secret_value() == "from-a-file"
    assert settings.token_file("internal_api_token") == tmp_path / "token"
    assert "from-a-file" not in repr(settings)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), (b"", "is empty"), (b"\xff\xfe", "not UTF-8"), (b"x" * 70_000, "more than 65536 bytes")],
)
def test_a_file_that_is_of_no_use_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "value"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("LOG_LEVEL_FILE", str(file))
    line = refused()
    assert line.startswith("LOG_LEVEL_FILE")
    assert said in line


def test_a_value_and_a_file_for_it_are_one_too_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "value").write_text("INFO")
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    monkeypatch.setenv("LOG_LEVEL_FILE", str(tmp_path / "value"))
    assert refused() == "LOG_LEVEL and LOG_LEVEL_FILE are both set: unset one of them"
