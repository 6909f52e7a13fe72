"""The command line's edges; no cluster is touched."""

from pathlib import Path

import pytest

from devcluster.__main__ import main


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVCLUSTER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DEVCLUSTER_NAME", raising=False)


@pytest.mark.parametrize("words", [["run", "--", "true"], ["env"], ["load-image", "x"]])
def test_without_a_cluster_the_next_command_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    err = capsys.readouterr().err
    assert "no cluster 'sandbox-executor' is up" in err
    assert "try: python -m devcluster up" in err


def test_status_of_nothing_says_so_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 1
    assert "is down" in capsys.readouterr().out


def test_a_bad_name_is_refused_before_anything_happens(tmp_path: Path) -> None:
    assert main(["up", "--name", "../x"]) == 1
    assert list(tmp_path.iterdir()) == []
