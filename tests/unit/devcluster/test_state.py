"""What was started is known for certain, or not at all."""

from pathlib import Path

import pytest

from devcluster.state import Process, State, alive, load, process, save, start_time

BOOT = "c0ffee"


def _proc(root: Path, pid: int, *, start: int, name: str = "dockerd", status: str = "S") -> Path:
    """A /proc with one process, whose name may be as odd as a process can make it."""
    (root / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (root / "sys/kernel/random/boot_id").write_text(BOOT + "\n")
    (root / str(pid)).mkdir()
    before = " ".join(["0"] * 18)
    (root / str(pid) / "stat").write_text(f"{pid} ({name}) {status} {before} {start} 0 0\n")
    return root


def test_the_start_time_is_read_whatever_the_process_calls_itself(tmp_path: Path) -> None:
    assert start_time(7, _proc(tmp_path, 7, start=4711, name="a) S 1 (b")) == 4711


def test_a_recorded_process_is_alive_while_it_runs(tmp_path: Path) -> None:
    proc = _proc(tmp_path, 7, start=4711)
    known = process(7, proc)
    assert known == Process(7, 4711, BOOT)
    assert alive(known, proc)


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(Process(7, 4712, BOOT), id="the id was given to another process"),
        pytest.param(Process(7, 4711, "older"), id="the machine was started again"),
        pytest.param(Process(8, 4711, BOOT), id="it has ended"),
    ],
)
def test_any_other_process_is_not_taken_for_ours(tmp_path: Path, known: Process) -> None:
    assert not alive(known, _proc(tmp_path, 7, start=4711))


def test_a_zombie_is_not_alive(tmp_path: Path) -> None:
    assert process(7, _proc(tmp_path, 7, start=1, status="Z")) is None


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "state.json"
    known = State("own", "creating", True, "image:1", 2).with_process("dockerd", Process(7, 4711, BOOT))
    save(file, known)
    assert load(file) == known
    assert [path.name for path in file.parent.iterdir()] == ["state.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 99}', '{"format": 1, "processes": {"x": 1}}'])
def test_a_file_of_another_version_or_cut_short_counts_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "state.json"
    file.write_text(text)
    assert load(file) is None


def test_no_file_counts_as_none(tmp_path: Path) -> None:
    assert load(tmp_path / "state.json") is None
