"""The wrapper, run for real around a stand-in for runc."""

import json
import subprocess
from pathlib import Path

import pytest

from devcluster import runcwrap

CAPABILITIES = ["CAP_KILL", "CAP_SYS_RESOURCE", "CAP_CHOWN"]


@pytest.fixture
def wrapper(tmp_path: Path) -> Path:
    """Prints its arguments, one a line, and exits 7."""
    runc = tmp_path / "real runc"
    runc.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 7\n')
    script = tmp_path / "wrapper"
    script.write_text(runcwrap.script(runc))
    for file in (runc, script):
        file.chmod(0o755)
    return script


def _run(wrapper: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([wrapper, *words], capture_output=True, text=True, timeout=60)


def test_arguments_and_exit_code_are_runcs_own(wrapper: Path) -> None:
    done = _run(wrapper, "--root", "a b", "delete", "")
    assert (done.stdout, done.returncode) == ("--root\na b\ndelete\n\n", 7)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_capability_is_taken_out_of_the_bundle_wherever_it_stands(
    wrapper: Path, tmp_path: Path, position: int
) -> None:
    names = ["CAP_KILL", "CAP_CHOWN"]
    names.insert(position, "CAP_SYS_RESOURCE")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"bounding": names, "effective": names}, separators=(",", ":")))
    _run(wrapper, "create", "--bundle", str(tmp_path), "id")
    left = ["CAP_KILL", "CAP_CHOWN"]
    assert json.loads(config.read_text()) == {"bounding": left, "effective": left}


@pytest.mark.parametrize("option", ["--process", "-p"])
def test_and_out_of_an_exec_process_file(wrapper: Path, tmp_path: Path, option: str) -> None:
    file = tmp_path / "process.json"
    file.write_text(json.dumps({"capabilities": CAPABILITIES}, separators=(",", ":")))
    _run(wrapper, "exec", option, str(file), "id")
    assert json.loads(file.read_text()) == {"capabilities": ["CAP_KILL", "CAP_CHOWN"]}
