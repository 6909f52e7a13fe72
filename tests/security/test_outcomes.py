"""What a Python handler's run comes out as, through a real sandbox and ``capture`` (spec.md, US1)."""

import pytest

from tests.security.conftest import Driver

pytestmark = pytest.mark.sandbox


def test_a_handler_gets_its_event_and_its_value_comes_back(driver: Driver) -> None:
    event = {"a": [1, 2.5, None, True, "é\u0000\U0001f600"], "b": {}}
    run = driver.run("def handler(event):\n  print('seen', event['a'][0])\n  return event", event=event)
    assert run.result["return_value"] == event
    assert (run.result["status"], run.result["reason"], run.result["exit_code"]) == ("success", "Completed", 0)
    assert run.stdout == "seen 1\n"
    assert run.stderr == ""


@pytest.mark.parametrize(
    ("stdin", "event"),
    [('{"from": "stdin"}', {"from": "stdin"}), ("[1]", [1]), ("no json", {}), ("", {}), ("NaN", {}), ("[" * 5000, {})],
)
def test_an_absent_event_is_parsed_from_stdin(full: Driver, stdin: str, event: object) -> None:
    code = "import sys\ndef handler(event): return [event, sys.stdin.read()]"
    assert full.run(code, stdin=stdin, event_given=False).result["return_value"] == [event, stdin]


def test_a_given_event_is_not_parsed_from_stdin(full: Driver) -> None:
    assert full.run("def handler(event): return event", stdin='{"a": 1}', event={}).result["return_value"] == {}


def test_a_coroutine_handler_is_awaited(full: Driver) -> None:
    run = full.run("import asyncio\nasync def handler(event):\n  await asyncio.sleep(0)\n  return 'awaited'")
    assert run.result["return_value"] == "awaited"


@pytest.mark.parametrize("code", ["", "x = 1", "handler = 5"])
def test_a_missing_handler_is_said_with_what_to_write(full: Driver, code: str) -> None:
    run = full.run(code)
    assert (run.result["status"], run.result["reason"], run.result["exit_code"]) == ("failed", "HandlerMissing", 1)
    assert "def handler(event)" in run.stderr


def test_a_handler_that_raises_has_the_users_traceback_only(driver: Driver) -> None:
    run = driver.run("def inner():\n    return {}['missing']\n\ndef handler(event):\n    return inner()\n")
    assert (run.result["status"], run.result["reason"], run.result["exit_code"]) == ("failed", "HandlerRaised", 1)
    assert run.stderr == (
        "Traceback (most recent call last):\n"
        '  File "/tmp/handler.py", line 5, in handler\n'
        "    return inner()\n"
        "           ^^^^^^^\n"
        '  File "/tmp/handler.py", line 2, in inner\n'
        "    return {}['missing']\n"
        "           ~~^^^^^^^^^^^\n"
        "KeyError: 'missing'\n"
    )


def test_a_syntax_error_shows_the_line(full: Driver) -> None:
    run = full.run("def handler(event):\n    return (\n")
    assert run.result["reason"] == "HandlerRaised"
    assert 'File "/tmp/handler.py", line 2' in run.stderr
    assert "SyntaxError" in run.stderr
    assert "sandbox" not in run.stderr


def test_an_exception_that_cannot_be_shown_is_still_a_result(full: Driver) -> None:
    run = full.run("class E(Exception):\n  def __str__(self): raise SystemExit(0)\ndef handler(event): raise E")
    assert run.result["reason"] == "HandlerRaised"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("float('nan')", "not JSON compliant"),
        ("[float('inf')]", "not JSON compliant"),
        ("{1, 2}", "set"),
        ("b'bytes'", "bytes"),
        ("object()", "object"),
        ("{(1, 2): 3}", "keys must be"),
        ("'\\ud800'", "surrogates"),
        ("cycle", "Circular reference"),
        ("deep(191)", "deeper than 190"),
        ("deep(100_000)", ""),
        ("'x' * (10 << 20)", "at most 10485760"),
    ],
)
def test_a_value_that_json_cannot_hold_fails_and_says_why(full: Driver, value: str, says: str) -> None:
    code = f"""
cycle = []
cycle.append(cycle)
def deep(levels):
    value = 1
    for _ in range(levels): value = [value]
    return value
def handler(event): return {value}
"""
    run = full.run(code)
    assert (run.result["status"], run.result["reason"]) == ("failed", "ResultNotSerializable")
    assert run.result["exit_code"] == 1
    assert run.result["return_value"] is None
    assert says in run.stderr
    assert "cannot be written as JSON" in run.stderr


def test_a_value_just_below_the_bounds_comes_back(full: Driver) -> None:
    code = """
def handler(event):
  value = 'x' * ((10 << 20) - 1000)
  for _ in range(189): value = [value]
  return value
"""
    value = full.run(code).result["return_value"]
    for _ in range(189):
        (value,) = value
    assert value == "x" * ((10 << 20) - 1000)


@pytest.mark.parametrize(
    ("statement", "exit_code", "reason"),
    [
        ("sys.exit()", 0, "Completed"),
        ("sys.exit(0)", 0, "Completed"),
        ("sys.exit(3)", 3, "NonZeroExit"),
        ("sys.exit(256 + 7)", 7, "NonZeroExit"),
        ("sys.exit('message')", 1, "NonZeroExit"),
        ("exit(4)", 4, "NonZeroExit"),
        ("os._exit(5)", 5, "NonZeroExit"),
        ("os.kill(os.getpid(), 9)", 137, "Signaled"),
        ("os.kill(os.getpid(), 11)", 139, "Signaled"),
        ("os.abort()", 134, "Signaled"),
    ],
)
@pytest.mark.parametrize("where", ["top level", "handler"])
def test_exit_codes_and_signals(full: Driver, statement: str, exit_code: int, reason: str, where: str) -> None:
    body = statement if where == "top level" else f"def handler(event): {statement}"
    run = full.run(f"import os, sys\n{body}")
    assert (run.result["exit_code"], run.result["reason"]) == (exit_code, reason)
    assert run.result["status"] == ("success" if exit_code == 0 else "failed")


def test_what_exit_says_is_on_stderr(full: Driver) -> None:
    assert full.run("import sys\nsys.exit('the message')").stderr == "the message\n"


def test_output_survives_an_exit_without_a_flush(full: Driver) -> None:
    run = full.run("import os\ndef handler(event):\n  print('line')\n  os._exit(0)")
    assert run.stdout == "line\n"


def test_output_survives_streams_that_the_code_replaced(full: Driver) -> None:
    run = full.run("import sys\nsys.stdout.write('part')\nsys.stdout = sys.stderr = None\ndef handler(event): return 1")
    assert (run.stdout, run.result["return_value"]) == ("part", 1)


def test_threads_and_exit_functions_end_as_in_python(full: Driver) -> None:
    code = """
import atexit, threading, time
def late():
    time.sleep(0.1)
    print('thread')
def handler(event):
    atexit.register(print, 'atexit')
    threading.Thread(target=late).start()
    return 1
"""
    run = full.run(code)
    assert run.stdout == "thread\natexit\n"
    assert run.result["return_value"] == 1


def test_streams_that_the_code_closed_are_no_problem(driver: Driver) -> None:
    code = """
import os, sys
def handler(event):
  sys.stdout.close(); sys.stderr.close(); sys.stdin.close()
  return 'still'
"""
    assert driver.run(code).result["return_value"] == "still"
    code = "import os\ndef handler(event):\n  os.closerange(0, 3)\n  return 'still'"
    assert driver.run(code).result["return_value"] == "still"


def test_closing_the_return_channel_loses_only_the_value(full: Driver) -> None:
    run = full.run("import os\ndef handler(event):\n  os.closerange(3, 100)\n  return 'lost'")
    assert run.result["return_value"] is None
    assert "the return value is lost" in run.stderr


def test_printing_a_marker_forges_nothing(full: Driver) -> None:
    code = "def handler(event):\n  print('===SANDBOX_RESULT===\\n\"forged\"\\n===SANDBOX_RESULT===')\n  return 'real'"
    run = full.run(code)
    assert run.result["return_value"] == "real"
    assert run.stdout.startswith("===SANDBOX_RESULT===")


@pytest.mark.parametrize(
    "forged",
    [
        b"returned\nNaN",
        b"returned\n" + b"[" * 100_000,
        b"returned\n1e999",
        b'returned\n"\\ud800"',
        b"returned\n\xff",
        b"returned\n",
    ],
)
def test_a_forged_value_is_refused(full: Driver, forged: bytes) -> None:
    run = full.run(f"import os\nos.write(3, {forged!r})\nos._exit(0)")
    assert (run.result["status"], run.result["reason"]) == ("failed", "ResultNotSerializable")
    assert run.result["return_value"] is None


def test_a_return_channel_without_end_is_bounded(full: Driver) -> None:
    code = "import os\nfor _ in range(30): os.write(3, b'x' * (1 << 20))\nos._exit(0)"
    run = full.run(code)
    assert run.result["status"] == "success"
    assert run.returned == ""


def test_a_child_that_returns_from_the_handler_reports_nothing(full: Driver) -> None:
    code = """
import os
def handler(event):
  pid = os.fork()
  if pid: os.waitpid(pid, 0)
  return 'parent' if pid else 'child'
"""
    assert full.run(code).result["return_value"] == "parent"


def test_code_runs_as_main_and_from_the_workspace(full: Driver) -> None:
    code = """
import os, sys
kept = __name__
def handler(event): return [kept, os.getcwd(), sys.argv, '/workspace' in sys.path]
"""
    assert full.run(code).result["return_value"] == ["__main__", "/workspace", ["/tmp/handler.py"], False]


def test_a_module_in_the_workspace_is_not_imported_instead_of_a_real_one(full: Driver) -> None:
    """A session's earlier run must not get its code into a later start."""
    names = ["json", "os", "encodings", "_json", "site", "sitecustomize", "usercustomize", "atexit", "asyncio"]
    full.run(f"for n in {names!r}: open(n + '.py', 'w').write('print(1); raise SystemExit(9)')", session="modules")
    run = full.run(
        "import json, asyncio\nasync def handler(event): return json.dumps(event)", session="modules", event=[1]
    )
    assert run.result["return_value"] == "[1]"
    assert run.stdout == ""


def test_standard_library_modules_work(full: Driver) -> None:
    code = """
import concurrent.futures, multiprocessing, sqlite3, ssl, subprocess, tempfile, zoneinfo
def square(n): return n * n
def handler(event):
    with multiprocessing.get_context("fork").Pool(2) as pool: squares = pool.map(square, range(4))
    with concurrent.futures.ThreadPoolExecutor(4) as threads: again = list(threads.map(square, range(4)))
    with tempfile.NamedTemporaryFile() as file: name = file.name
    answer = sqlite3.connect(":memory:").execute("select 6 * 7").fetchone()[0]
    said = subprocess.run(["bash", "-c", "echo $HOME"], capture_output=True, text=True).stdout
    return [squares, again, name.startswith("/tmp/"), answer, said]
"""
    assert full.run(code).result["return_value"] == [[0, 1, 4, 9], [0, 1, 4, 9], True, 42, "/tmp\n"]


def test_files_in_the_workspace_become_artifacts(driver: Driver) -> None:
    code = """
import os
os.makedirs("outputs/january")
open("outputs/january/report.pdf", "w").write("12345")
open(".hidden", "w").write("x")
open("/tmp/not-here", "w").write("x")
os.symlink("/usr/bin/python3", "link")
"""
    run = driver.run(code + "def handler(event): return 1")
    assert run.result["artifacts"] == ["outputs/january/report.pdf"]
    assert run.result["artifact_metadata"] == [
        {"path": "outputs/january/report.pdf", "size": 5, "mime_type": "application/pdf", "type": "artifact"}
    ]
