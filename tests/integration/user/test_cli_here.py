"""``sandbox-run`` on this machine: a real executor, a real sandbox, as a user calls it."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.user.conftest import EXAMPLES, RunCli
from tests.patience import PATIENCE_S, Sleeper, wait_until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]
COMMAND = str(Path(sys.executable).with_name("sandbox-run"))


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return name

    return write


def test_a_handler_gets_its_event_and_what_it_returns_follows_its_output(cli: RunCli, write: Any) -> None:
    path = write(
        "hello.py", "def handler(event):\n    print('Hello,', event['name'])\n    return {'n': None, 'ä': 1}\n"
    )
    ran = cli(path, "--event", '{"name": "Ada"}')
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, 'Hello, Ada\n{"n": null, "ä": 1}\n', "")
    ran = cli(path, "--event", '{"name": "Ada"}', "-o", "raw")
    assert (ran.stdout, ran.stderr) == ("Hello, Ada\n", "")
    whole = json.loads(cli(path, "--event", '{"name": "Ada"}', "-o", "json", "--name", "named").stdout)
    assert whole["status"]["returnValue"] == {"n": None, "ä": 1}
    assert whole["metadata"]["name"] == "named"


def test_a_plain_script_from_a_pipe(cli: RunCli) -> None:
    ran = cli("-l", "python", "-", stdin="print(1)")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "1\n", "")


def test_a_script_that_calls_something_a_handler_is_still_a_script(cli: RunCli, write: Any) -> None:
    path = write(
        "signals.py", "import signal\ndef handler(number, frame): pass\nsignal.signal(15, handler)\nprint(3)\n"
    )
    assert cli(path).stdout == "3\n"
    path = write("quiet.py", "def handler(event): return 'called'\nprint('top')\n")
    assert cli(path, "--script").stdout == "top\n"
    ran = cli("-l", "python", "--handler", "-", stdin="print(1)")
    assert (ran.exit_code, ran.stdout) == (1, "1\n")
    assert "handler is not defined" in ran.stderr


def test_both_streams_stdin_variables_event_and_exit_code_of_a_shell_program(cli: RunCli, write: Any) -> None:
    path = write("all.sh", 'cat; echo "$WHO $HERE"; cat "$EVENT_FILE"; echo bad >&2; exit 7\n')
    ran = cli(path, "--stdin", "-", "-e", "WHO=Ada", "-e", "HERE", "--event", "[1]", stdin="in\n", HERE="set")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (7, "in\nAda set\n[1]", "bad\n")


def test_all_of_a_long_output_comes_and_not_only_what_a_status_keeps(cli: RunCli) -> None:
    ran = cli("-l", "python", "-", stdin="for number in range(50_000): print(number)")
    assert ran.stdout.splitlines() == [str(number) for number in range(50_000)]
    assert ran.stderr == ""


def test_javascript(cli: RunCli, write: Any) -> None:
    path = write("a.js", "console.log(JSON.parse(require('fs').readFileSync(process.env.EVENT_FILE, 'utf8')).n + 1)")
    assert cli(path, "--event", '{"n": 1}').stdout == "2\n"


@pytest.mark.parametrize(
    ("words", "code", "exit_code", "says"),
    [
        (
            ["--timeout", "1s"],
            "import time\nprint('x', flush=True)\ntime.sleep(60)",
            124,
            "TimedOut: the code ran longer",
        ),
        ([], "x = []\nwhile True: x.append(bytearray(10**7))", 137, "Failed (MemoryLimit): the code used more memory"),
        (
            [],
            "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
            139,
            "Failed (Signaled): the process was ended",
        ),
    ],
)
def test_reserved_exit_codes(cli: RunCli, words: list[str], code: str, exit_code: int, says: str) -> None:
    ran = cli("-l", "python", *words, "-", stdin=code)
    assert ran.exit_code == exit_code
    assert f"sandbox-run: {says}" in ran.stderr


def test_a_manifest_gives_a_manifest_and_options_replace_its_fields(cli: RunCli) -> None:
    ran = cli("-f", EXAMPLES / "hello.yaml", "--event", '{"name": "Bob"}')
    status = yaml.safe_load(ran.stdout)["status"]
    assert (ran.exit_code, status["returnValue"]["greeting"]) == (0, "Hello, Bob")
    ran = cli("-f", "-", "-o", "table", stdin=(EXAMPLES / "hello.yaml").read_text())
    assert ran.stdout.splitlines()[0] == "Hello, Ada, from a sandbox on sandbox"


def test_what_admission_refuses_has_a_code_of_its_own(cli: RunCli, write: Any) -> None:
    secret = "env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]"
    path = write("secret.yaml", (EXAMPLES / "hello.yaml").read_text().replace("language:", f"{secret}\n  language:"))
    ran = cli("-f", path, "-o", "table")
    assert ran.exit_code == 126
    assert "Rejected (SecretsNotAllowed)" in ran.stderr
    assert "write a value instead" in ran.stderr


def test_code_from_a_config_map_needs_a_cluster(cli: RunCli, write: Any) -> None:
    source = "codeFrom: {configMapKeyRef: {name: c, key: k}}"
    text = f"apiVersion: sandbox-executor.dev/v1alpha1\nkind: Execution\nmetadata: {{name: x}}\nspec:\n  {source}\n"
    ran = cli("-f", write("map.yaml", text + "  language: python\n"))
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "needs a cluster" in ran.stderr


def test_python_m_is_the_same_command(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "sandbox_run", "-l", "shell", "-"]
    done = subprocess.run(words, input="echo hi", capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hi\n", "")


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    with subprocess.Popen([COMMAND, "languages"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(PATIENCE_S)) == (b"", 141)


LONG = ("--timeout", "10m")


def write_late(folder: Path) -> Sleeper:
    """``late.py`` prints before and after it waits."""
    sleeper = Sleeper()
    code = (
        f"import sys\nprint('first')\nprint('wrong', file=sys.stderr)\n{sleeper.python}\nprint('last')\nsys.exit(7)\n"
    )
    (folder / "late.py").write_text(code)
    return sleeper


def test_followed_output_comes_while_the_program_runs_and_its_exit_code_stays(tmp_path: Path) -> None:
    sleeper = write_late(tmp_path)
    with subprocess.Popen(
        [COMMAND, "late.py", "--follow", *LONG], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert (process.stdout.readline(), process.stderr.readline()) == (b"first\n", b"wrong\n")
        sleeper.end()
        assert (process.stdout.read(), process.stderr.read(), process.wait(PATIENCE_S)) == (b"last\n", b"", 7)


def test_not_followed_it_comes_at_the_end(tmp_path: Path) -> None:
    for words in ((), ("--no-follow",)):
        sleeper = write_late(tmp_path)
        with subprocess.Popen([COMMAND, "late.py", *words, *LONG], cwd=tmp_path, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            sleeper.wait()
            assert not select.select([process.stdout], [], [], 0.5)[0], "it has printed, and shows it while it runs"
            sleeper.end()
            assert (process.stdout.read(), process.wait(PATIENCE_S)) == (b"first\nlast\n", 7)


def test_a_followed_return_value_is_no_output(cli: RunCli, write: Any) -> None:
    mark = "===SANDBOX_RESULT==="
    path = write("both.sh", f"echo a; echo '{mark}{{\"n\": 1}}{mark}'; echo b; echo '{mark[:9]}'")
    expected = (0, f'a\nb\n{mark[:9]}\n{{"n": 1}}\n', "")
    for words in ((), ("--follow",)):
        ran = cli(path, *words)
        assert (ran.exit_code, ran.stdout, ran.stderr) == expected
    path = write("handler.py", "def handler(event):\n    print('out')\n    return 2\n")
    assert cli(path, "--follow").stdout == "out\n2\n"
    assert cli(path, "--follow", "-o", "raw").stdout == "out\n"


def test_followed_all_of_it_comes_however_much_it_is(tmp_path: Path) -> None:
    """Twice what an executor keeps, to a reader that is slow at first."""
    (tmp_path / "much.py").write_text("for number in range(20 * 65_536): print(f'{number:015d}')")
    with subprocess.Popen([COMMAND, "much.py", "--follow", *LONG], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        time.sleep(2)
        for number, line in enumerate(process.stdout):
            assert int(line) == number
        assert (number, process.wait(PATIENCE_S)) == (20 * 65_536 - 1, 0)


def test_a_signal_ends_one_whose_output_nobody_reads(tmp_path: Path) -> None:
    (tmp_path / "much.sh").write_text("while :; do echo much; done")
    with subprocess.Popen([COMMAND, "much.sh", "--follow", *LONG], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"much\n"
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 143


def test_a_reader_that_has_seen_enough_of_a_followed_one_ends_it(tmp_path: Path) -> None:
    (tmp_path / "much.sh").write_text("while :; do echo much; done")
    with subprocess.Popen(
        [COMMAND, "much.sh", "--follow", *LONG], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(5) == b"much\n"
        process.stdout.close()
        assert (process.stderr.read(), process.wait(PATIENCE_S)) == (b"", 141)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_takes_the_sandbox_along(tmp_path: Path, number: int, exit_code: int) -> None:
    sleeper = Sleeper()
    (tmp_path / "slow.py").write_text(sleeper.python)
    with subprocess.Popen([COMMAND, "slow.py", *LONG], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        sleeper.wait()
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == exit_code
        assert process.stderr is not None
        assert process.stderr.read() == ""
    wait_until(lambda: not sleeper.pids(), "the sandbox stays")


def test_on_a_terminal_it_shows_progress_after_a_second_and_no_foreign_control_sequences(tmp_path: Path) -> None:
    """A pseudo-terminal stands for the person's; on a pipe, above, not a byte of this comes."""
    sleeper, raw_sleeper = Sleeper(), Sleeper()
    code = "{}\nprint('\\033[32mgreen\\033[0m \\033]0;title\\007')\n"
    (tmp_path / "slow.py").write_text(code.format(sleeper.python))
    (tmp_path / "raw.py").write_text(code.format(raw_sleeper.python))
    text = _on_terminal([COMMAND, "slow.py", *LONG], tmp_path, sleeper)
    assert re.search(r"running \(\d+ s\)", text)
    assert "\x1b[32mgreen\x1b[0m \\x1b]0;title\\x07\r\n" in text
    assert re.search(r"sandbox-run: Succeeded in \d+\.\d\ds\r\n$", text)
    raw = _on_terminal([COMMAND, "raw.py", "-o", "raw", *LONG], tmp_path, raw_sleeper)
    assert "\x1b]0;title\x07" in raw


def test_on_a_terminal_output_is_followed_and_what_is_cut_in_two_is_put_together(tmp_path: Path) -> None:
    code = "import sys, time\nfor part in (b'now \\xc3', b'\\xa4 \\x1b[3', b'2mgreen\\x1b[0m\\n'):\n"
    code += "    sys.stdout.buffer.write(part); sys.stdout.flush(); time.sleep(1.5)\n"
    (tmp_path / "parts.py").write_text(code)
    text = _on_terminal([COMMAND, "parts.py", *LONG], tmp_path)
    _, shown, after = text.partition("now ä \x1b[32mgreen\x1b[0m\r\n")
    assert shown
    assert "running" not in after, "progress ends when there is output"
    sleeper = Sleeper()
    (tmp_path / "waits.py").write_text(f"print('now')\n{sleeper.python}\n")
    assert "running" in _on_terminal([COMMAND, "waits.py", "--no-follow", *LONG], tmp_path, sleeper)


def test_a_table_on_a_terminal_is_in_colour(tmp_path: Path) -> None:
    assert "\x1b[1mLANGUAGE" in _on_terminal([COMMAND, "languages"], tmp_path)


def _on_terminal(command: list[str], folder: Path, sleeper: Sleeper | None = None) -> str:
    """What is shown; a ``sleeper`` sleeps until there is progress to be seen."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "ISOLATION_MODE": "best-effort"}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        read = b""
        deadline = time.monotonic() + 2 * PATIENCE_S
        while time.monotonic() < deadline:
            if sleeper is not None and b"running (" in read:
                sleeper.end()
                sleeper = None
            if select.select([leader], [], [], 0.2)[0]:
                try:
                    read += os.read(leader, 65_536)
                except OSError:  # EIO: the last one has closed it
                    break
        os.close(leader)
        assert process.wait(PATIENCE_S) == 0
    return read.decode()


def test_files_that_the_program_finds(cli: RunCli, write: Any, tmp_path: Path) -> None:
    (tmp_path / "raw.bin").write_bytes(b"\xff\x00")
    write("main.py", "print(open('raw.bin', 'rb').read(), open('in/copy').read())")
    ran = cli("main.py", "--file", "raw.bin", "--file", "in/copy=-", stdin="from here")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "b'\\xff\\x00' from here\n", "")
    ran = cli("main.py", "--file", "../raw.bin")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "a file's path is relative to the workspace" in ran.stderr
    ran = cli("-", "-l", "python", "--file", "x=-", stdin="")
    assert (ran.exit_code, "standard input can be read once" in ran.stderr) == (2, True)
