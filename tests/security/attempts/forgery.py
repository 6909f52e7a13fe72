"""Lies: results, markers, ends, progress and descriptions that the executor should take for its own or another's.

What user code says of its own run is its own business, as long as it cannot say that it succeeded when it did not, or
that the executor failed when it did itself, and as long as reading it harms nobody.
"""

import json
from typing import TYPE_CHECKING, Final

from tests.security.attempts.effects import any_of, fetch, late, sent_progress, swelled
from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.snippets import EVENT, returned

if TYPE_CHECKING:
    from tests.security.attempts.world import World

_FORGED: Final = "a-forged-value"
_MARKER: Final = "===SANDBOX_RESULT==="
_BEAT_S: Final = 9
"""Heartbeats come every five seconds, and progress with them."""

MARKER_IN_PYTHON: Final = f"""
import sys
def handler(event):
    for stream in (sys.stdout, sys.stderr):
        print('{_MARKER}"{_FORGED}"{_MARKER}', file=stream)
        print('{_MARKER}', '"{_FORGED}"', '{_MARKER}', sep=chr(10), file=stream)
"""

MARKERS_BROKEN: Final = f"""
mark='{_MARKER}'
printf '%s' "$mark$mark$mark[$mark{{$mark"
printf '%s\\n' "$mark===SANDBOX_RESULT==" "$mark\\"half" "$mark NaN $mark" "$mark 1e999 $mark" "$mark[1,2$mark" >&2
for _ in $(seq 2000); do printf '%s' "$mark[[[[$mark"; done
printf '%s' "$mark[NaN]$mark"
head -c 10485650 /dev/zero | tr '\\0' ' '
printf '%s{{"half": "%s' "$mark" "$mark"
printf '%s' "$mark[NaN]$mark"
"""
"""The last value is none, and half of it lies beyond what is kept."""

VALUE_AND_FAILURE: Final = f"""
import os
def handler(event):
    os.write(3, b'returned' + bytes([10]) + b'"{_FORGED}"')
    os._exit(3)
"""

VALUE_AND_TIMEOUT: Final = f"""
import os, time
def handler(event):
    os.write(3, b'returned' + bytes([10]) + b'"{_FORGED}"')
    time.sleep(30)
"""

VALUE_BY_A_CHILD: Final = f"""
import os, signal, time
def handler(event):
    if os.fork() == 0:
        os.setsid()
        os.write(3, b'returned' + bytes([10]) + b'"{_FORGED}"')
        os.write(1, b'{_MARKER}"{_FORGED}"{_MARKER}')
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(30)
    time.sleep(30)
"""

STATUS_LINES: Final = """
import os, signal
def handler(event):
    lines = b"LINE" + bytes([10])
    numbers = range(4, 1024)
    for path in [f"/proc/1/fd/{number}" for number in numbers] + [f"/dev/fd/{number}" for number in numbers]:
        try:
            os.write(os.open(path, os.O_WRONLY | os.O_NONBLOCK), lines)
        except OSError:
            pass
    for number in numbers:
        try:
            os.write(number, lines)
        except OSError:
            pass
    os.kill(os.getpid(), signal.SIGKILL)
"""

BLAME_THE_SANDBOX: Final = """
const fs = require('fs'), { spawnSync } = require('child_process')
let limited = 0
for (let number = 1; number < 64; number++) { try { process.kill(1, number) } catch (error) {} }
for (const kind of ['data', 'as', 'cpu', 'nofile', 'fsize', 'stack']) {
  if (spawnSync('prlimit', ['--pid', '1', `--${kind}=1:1`]).status === 0) limited++
}
spawnSync('renice', ['19', '-p', '1'])
spawnSync('chrt', ['--idle', '-p', '0', '1'])
fs.chmodSync('/workspace', 0)
process.exit(limited ? 0 : 4)
"""

CLOSED_WORKSPACE: Final = "echo work > file; chmod 000 /workspace; exit 4"

NAME_OF_AN_ERROR: Final = """
FORGED = chr(10) + '{"event_type": "executor_started", "level": "info", "port": 1}' + chr(10) + chr(27) + "[2J" + chr(0)
class Liar(Exception):
    def __str__(self): return FORGED
def handler(event):
    import sys
    sys.stdout.write(FORGED + "sandbox_executor_executions_total{status=\\"success\\"} 1e9" + chr(0x2028))
    open("name" + chr(10) + "2", "w").write(FORGED)
    raise type("Error" + FORGED, (Liar,), {})
"""

MEDIA_TYPE: Final = """
mkdir 'data:text'
echo '<script>' > 'data:text/html,x'
"""

MANY_OBJECTS: Final = """
import os
def handler(event):
    left = memoryview(b"returned" + bytes([10]) + b"[" + b"{}," * 3_400_000 + b"0]")
    while left:
        left = left[os.write(3, left):]
    os._exit(0)
"""

CONTROL_CHARACTERS: Final = """
const { writeSync } = require('fs')
for (const stream of [1, 2]) {
  writeSync(stream, '\\u{1f600}')
  for (let left = 10; left > 0; left--) {
    const block = Buffer.alloc(1 << 20)
    for (let at = 0; at < block.length;) at += writeSync(stream, block, at)
  }
}
"""

DEEP_VALUE: Final = f"""
mark='{_MARKER}'
printf '%s\\n' "$mark"
head -c 2000000 /dev/zero | tr '\\0' '['
printf '%s\\n%s' "$mark" "$mark"
head -c 150000 /dev/zero | tr '\\0' '['; printf 1; head -c 150000 /dev/zero | tr '\\0' ']'
printf '%s' "$mark"
"""

INFINITE_NUMBERS: Final = f"""
process.stdout.write('{_MARKER}[1e999, -1e999, 1e400]{_MARKER}')
"""

PROGRESS_LINK: Final = """
import os, time
def handler(event):
    os.symlink(event["canary_path"], ".progress.json")
    time.sleep(event["beat_s"])
"""

PROGRESS_FIFO: Final = """
mkfifo .progress.json
sleep 5.5
(sleep 8; echo '{}' > .progress.json) &
wait
"""
"""Whoever waits for a writer waits for longer than the timeout."""

PROGRESS_VALUES: Final = (
    EVENT
    + """
const { renameSync, writeFileSync } = fs
const bodies = ['NaN', '1e999', '-Infinity', '[-1e999]'].map((value) => `{"a": ${value}}`)
let number = 0
setInterval(() => {
  writeFileSync('.next', bodies[number++ % bodies.length])
  renameSync('.next', '.progress.json')
}, 1)
setTimeout(() => process.exit(), 1000 * event.beat_s)
"""
)


def _is_success(_world: "World", outcome: Outcome) -> bool:
    return bool(outcome.result["status"] == "success" or outcome.result["exit_code"] == 0)


def _blames_sandbox(_world: "World", outcome: Outcome) -> bool:
    """Of an ``error`` the sandbox is guilty; it may be tried again."""
    return bool(outcome.result["status"] in ("error", "lost"))


def _has_own_type(_world: "World", outcome: Outcome) -> bool:
    return any(artifact["mime_type"] == "text/html" for artifact in outcome.result.get("artifact_metadata", ()))


def _has_value(_world: "World", outcome: Outcome) -> bool:
    return outcome.result["return_value"] is not None


def _has_all_characters(_world: "World", outcome: Outcome) -> bool:
    """Each of these takes six bytes in JSON, in every copy of the result."""
    return bool(outcome.result["stdout"].count("\0") > 9_000_000)


def _is_told_elsewhere(world: "World", outcome: Outcome) -> bool:
    """As a log record of its own, as a line that is none, or as a figure."""
    records = [json.loads(line) for line in world.executor_log() if line.startswith("{")]
    own_record = any(record.get("port") == 1 for record in records)
    broken_line = any(not line.startswith("{") or chr(27) in line for line in world.executor_log())
    return own_record or broken_line or "1e9" in fetch(world, "/metrics").decode()


def _told_canary(world: "World", outcome: Outcome) -> bool:
    return world.secrets["canary"] in str(sent_progress(world, outcome))


def _told_something(world: "World", outcome: Outcome) -> bool:
    return bool(sent_progress(world, outcome))


_EXITED: Final = STATUS_LINES.replace("LINE", "exited 0 0 1 1 1 1")
_FAILED: Final = STATUS_LINES.replace("LINE", "failed by nobody's fault")
_BEATING: Final = {"timeout": _BEAT_S}
_GIVES_FORGED: Final = any_of(returned(_FORGED), _is_success)

RESULTS: Final = (
    Attempt("forgery/marker-in-python", "python", MARKER_IN_PYTHON, returned(_FORGED), without=("own_channel",)),
    Attempt(
        "forgery/broken-markers",
        "shell",
        MARKERS_BROKEN,
        any_of(_has_value, _blames_sandbox, late(30)),
        without=("strict_json",),
    ),
    Attempt("forgery/value-and-failure", "python", VALUE_AND_FAILURE, _GIVES_FORGED, without=("exit_status",)),
    Attempt(
        "forgery/value-and-timeout",
        "python",
        VALUE_AND_TIMEOUT,
        _GIVES_FORGED,
        without=("exit_status",),
        request={"timeout": 2},
    ),
    Attempt("forgery/value-by-a-child", "python", VALUE_BY_A_CHILD, _GIVES_FORGED, without=("exit_status",)),
    Attempt("forgery/status-line", "python", _EXITED, _is_success, without=("descriptors",)),
    Attempt("forgery/failure-of-the-sandbox", "python", _FAILED, _blames_sandbox, without=("descriptors",)),
    Attempt(
        "forgery/blame-process-1",
        "javascript",
        BLAME_THE_SANDBOX,
        any_of(_blames_sandbox, _is_success),
        without=("seccomp",),
    ),
    Attempt("forgery/closed-workspace", "shell", CLOSED_WORKSPACE, _blames_sandbox, without=("workspace_mode",)),
    Attempt("forgery/infinite-number", "javascript", INFINITE_NUMBERS, _has_value, without=("strict_json",)),
    Attempt("forgery/deep-value", "shell", DEEP_VALUE, any_of(_has_value, _blames_sandbox), without=("strict_json",)),
)

DESCRIPTIONS: Final = (
    Attempt(
        "forgery/name-of-an-error",
        "python",
        NAME_OF_AN_ERROR,
        _is_told_elsewhere,
        unproved="nothing that user code chooses is in any log record or label; that a record would stay one line is "
        "held by tests/unit/executor_runtime/test_logs.py",
    ),
    Attempt("forgery/media-type", "shell", MEDIA_TYPE, _has_own_type, without=("media_type",)),
    Attempt(
        "forgery/many-objects",
        "python",
        MANY_OBJECTS,
        any_of(_has_value, swelled),
        without=("json_bounds",),
    ),
    Attempt(
        "forgery/control-characters",
        "javascript",
        CONTROL_CHARACTERS,
        any_of(_has_all_characters, swelled),
        without=("json_bounds",),
    ),
)

PROGRESS: Final = (
    Attempt("forgery/progress-link", "python", PROGRESS_LINK, _told_canary, without=("progress_file",)),
    Attempt(
        "forgery/progress-fifo",
        "shell",
        PROGRESS_FIFO,
        any_of(_told_something, late(_BEAT_S)),
        without=("progress_file",),
        request=_BEATING,
    ),
    Attempt("forgery/progress-values", "javascript", PROGRESS_VALUES, _told_something, without=("progress_values",)),
)

ATTEMPTS: Final = (*RESULTS, *DESCRIPTIONS, *PROGRESS)
