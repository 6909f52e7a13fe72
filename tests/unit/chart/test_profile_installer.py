"""The installer puts the profile on a node whole, puts it back, and ends at once when told to."""

import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.chart.conftest import CHART

PROGRAM = CHART / "files" / "install_profile.py"
Install = Callable[[Path, Path], bool]


@pytest.fixture
def install() -> Install:
    program: Install = runpy.run_path(str(PROGRAM))["install"]
    return program


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.json"
    path.write_text("{}")
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "node"
    folder.mkdir()
    return folder / "executor.json"


def test_writes_a_missing_file_that_the_kubelet_can_read(install: Install, source: Path, target: Path) -> None:
    assert install(source, target)
    assert target.read_text() == "{}"
    assert target.stat().st_mode & 0o777 == 0o644
    assert list(target.parent.iterdir()) == [target]


def test_leaves_an_equal_file_alone(install: Install, source: Path, target: Path) -> None:
    install(source, target)
    before = target.stat()
    assert not install(source, target)
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_replaces_a_changed_file_by_a_new_one(install: Install, source: Path, target: Path) -> None:
    """A new file, not new bytes in the old one: whoever has it open reads the old one to its end."""
    target.write_text("half")
    with target.open() as reader:
        assert install(source, target)
        assert reader.read() == "half"
    assert target.read_text() == "{}"


def test_never_writes_through_a_link(install: Install, source: Path, target: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    target.symlink_to(elsewhere)
    assert install(source, target)
    assert elsewhere.read_text() == "untouched"
    assert not target.is_symlink()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_program_installs_and_ends_on_a_signal(source: Path, target: Path, stop: signal.Signals) -> None:
    command = [sys.executable, "-I", "-S", str(PROGRAM), str(source), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"wrote {target}\n"
            assert target.read_text() == "{}"
            process.send_signal(stop)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
