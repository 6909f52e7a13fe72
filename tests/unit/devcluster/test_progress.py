"""What a person sees of a long command."""

from pathlib import Path

import pytest

from devcluster import progress, state
from devcluster.errors import StepFailed
from devcluster.progress import Step, duration


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (423, "7 min 03 s")])
def test_durations_are_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_failure_shows_the_end_of_the_log_and_names_it(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "step.log"
    step = Step("making it", ["sh", "-c", "seq 100; echo the reason >&2; exit 3"], log)
    with pytest.raises(StepFailed, match="making it: exit 3") as caught:
        step.run()
    assert "the reason" in str(caught.value)
    assert "\n50\n" not in str(caught.value)
    assert "\n50\n" in log.read_text()
    assert caught.value.log == log


def test_what_fails_once_is_tried_again_where_that_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = 'echo "the reason"; [ -e "$0" ] || { touch "$0"; exit 3; }'
    step = Step("getting it", ["sh", "-c", script, tmp_path / "tried"], tmp_path / "log", tries=2)
    step.run()
    said = capsys.readouterr().err
    assert "getting it: exit 3" in said
    assert said.endswith("getting it: trying again\n")


def test_what_fails_each_time_fails(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(StepFailed, match="getting it: exit 3"):
        Step("getting it", ["sh", "-c", "exit 3"], log, tries=2).run()
    assert log.read_text().count("exit 3") == 2


def test_a_long_step_says_what_it_does_and_for_how_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT_S", 0.05)
    Step("making it", ["sh", "-c", "read line; sleep 0.2"], tmp_path / "log", usual="1 min").run()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"devcluster: making it (usually 1 min; log {tmp_path / 'log'})"
    assert lines[1].startswith("devcluster: … making it: ")
    assert lines[-1].startswith("devcluster: making it: done in ")


def test_a_full_log_makes_room_and_is_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_LIMIT_BYTES", 10)
    log = tmp_path / "step.log"
    log.write_text("something long\n")
    Step("x", ["true"], log).run()
    assert "something long" not in log.read_text()
    assert log.with_suffix(".log.old").read_text() == "something long\n"


def test_an_interrupted_step_ends_its_command_even_one_that_ignores_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(progress, "GRACE_S", 0.1)
    pid = tmp_path / "pid"

    def interrupt(text: str) -> None:
        if text.startswith("…") and pid.exists() and pid.read_text().strip():
            raise KeyboardInterrupt

    monkeypatch.setattr(progress, "say", interrupt)
    script = f'trap "" TERM; echo $$ > {pid}; while :; do sleep 0.05; done'
    with pytest.raises(KeyboardInterrupt):
        Step("x", ["sh", "-c", script], tmp_path / "log").run()
    assert state.start_time(int(pid.read_text())) is None
