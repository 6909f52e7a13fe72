"""JavaScript and shell in the same sandbox (the seed's T089, T090)."""

from types import SimpleNamespace

import pytest

from tests.security.conftest import Driver, best

pytestmark = pytest.mark.sandbox

MARKER = "===SANDBOX_RESULT==="


def test_a_shell_script_runs_with_stdin_environment_and_event(driver: Driver) -> None:
    code = 'read line; echo "$line $NAME $(cat "$EVENT_FILE")"; echo err >&2; pwd; exit 3'
    run = driver.run(code, language="shell", stdin="in\n", env={"NAME": "value"}, event={"a": 1})
    assert run.stdout == 'in value {"a": 1}\n/workspace\n'
    assert run.stderr == "err\n"
    assert (run.result["exit_code"], run.result["reason"]) == (3, "NonZeroExit")


def test_a_program_that_debian_links_through_its_alternatives_is_found(driver: Driver) -> None:
    run = driver.run("echo 1 2 | awk '{print $1 + $2}'", language="shell")
    assert (run.result["stdout"], run.result["stderr"]) == ("3\n", "")


def test_a_shell_script_returns_a_value_by_the_markers(full: Driver) -> None:
    run = full.run(f"echo before; printf '{MARKER}\\n{{\"n\": 1}}\\n{MARKER}\\n'; echo after", language="shell")
    assert run.result["stdout"] == "before\nafter\n"
    assert run.result["return_value"] == {"n": 1}


def test_javascript_runs_with_stdin_environment_and_event(driver: Driver) -> None:
    code = f"""
const fs = require('fs')
const event = JSON.parse(fs.readFileSync(process.env.EVENT_FILE))
console.log(fs.readFileSync(0, 'utf8'), process.env.NAME, process.cwd())
console.log('{MARKER}\\n' + JSON.stringify({{doubled: event.n * 2}}) + '\\n{MARKER}')
"""
    run = driver.run(code, language="javascript", stdin="in", env={"NAME": "value"}, event={"n": 21})
    assert run.result["stdout"] == "in value /workspace\n"
    assert run.result["return_value"] == {"doubled": 42}


def test_javascript_that_throws_fails_with_its_stack(full: Driver) -> None:
    run = full.run("throw new Error('broken')", language="javascript")
    assert (run.result["reason"], run.result["exit_code"]) == ("NonZeroExit", 1)
    assert "Error: broken" in run.stderr


@pytest.mark.parametrize(
    ("language", "code"),
    [("shell", "ls /proc/self/fd"), ("javascript", "console.log(require('fs').existsSync('/etc/passwd'))")],
)
def test_no_descriptor_and_no_file_of_ours_is_visible(full: Driver, language: str, code: str) -> None:
    expected = "0\n1\n2\n3\n" if language == "shell" else "false\n"  # 3 is the directory that ls reads
    assert full.run(code, language=language).stdout == expected


@pytest.mark.parametrize(("language", "code"), [("shell", "sleep 60 & sleep 60"), ("javascript", "while (true) {}")])
def test_timeouts_and_limits_hold_for_programs(driver: Driver, language: str, code: str) -> None:
    def make() -> SimpleNamespace:
        run = driver.run(code, language=language, timeout_s=1)
        assert run.ending == "timed_out"
        assert driver.held()["children"] == 0
        return run

    assert best(make, lambda run: run.duration_s < 3).duration_s < 3


def test_a_broken_pipe_ends_a_program_as_it_does_elsewhere(full: Driver) -> None:
    run = full.run("yes | head -1; echo ${PIPESTATUS[0]}", language="shell")
    assert run.stdout == "y\n141\n"


def test_a_sessions_earlier_run_gets_nothing_into_the_start(full: Driver) -> None:
    traps = ".bashrc .bash_profile .profile .noderc package.json handler.js handler.sh node_modules"
    full.run(f"for n in {traps}; do echo 'echo trapped; exit 9' > $n; done", language="shell", session="traps")
    assert full.run("echo clean", language="shell", session="traps").stdout == "clean\n"
    assert full.run("console.log('clean')", language="javascript", session="traps").stdout == "clean\n"


def test_a_mebibyte_of_code_runs(full: Driver) -> None:
    tail = "\necho done"
    code = "#" + "x" * ((1 << 20) - 1 - len(tail)) + tail
    assert full.run(code, language="shell").stdout == "done\n"
