"""The first instruction of user code is already inside everything, whatever environment and workspace it starts in.

A request's variables are the user's own: ``BASH_ENV``, ``NODE_OPTIONS`` or ``LD_PRELOAD`` may run more of the user's
code in the user's process, which is no more than user code may do in any case. They must not reach process 1, which
starts first, with limits still to be set; and nothing that an earlier run left in the session's workspace may run
unasked.
"""

import contextlib
import json
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from contracts.executor_api import ExecutionLimits
from executor_runtime.sandbox import Limits
from executor_runtime.sandbox.limits import build_rlimits
from executor_runtime.workspace import session_name
from tests.security.conftest import Driver

pytestmark = pytest.mark.sandbox

LIMITS = {"processes": 60, "open_files": 100, "cpu_seconds": 9, "file_size_bytes": 1 << 20}

STATE = """
import ctypes, json, os, resource, sys
libc = ctypes.CDLL(None, use_errno=True)
sets = (ctypes.c_uint32 * 6)()
libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), sets)
def is_open(number):
    try: return bool(os.fstat(number))
    except OSError: return False
def seen():
    return {
        "seccomp mode": libc.prctl(21, 0, 0, 0, 0),
        "no_new_privs": libc.prctl(39, 0, 0, 0, 0),
        "capabilities": list(sets),
        "bounding set": [number for number in range(64) if libc.prctl(23, number, 0, 0, 0) == 1],
        "ambient set": [number for number in range(64) if libc.prctl(47, 1, number, 0, 0) == 1],
        "unshare": [libc.unshare(0), ctypes.get_errno()],
        "user": [os.getresuid(), os.getresgid(), os.getgroups()],
        "process 1": os.getpid() == 1,
        "descriptors": [number for number in range(1024) if is_open(number)],
        "limits": {number: resource.getrlimit(number) for number in range(16)},
    }
print("STATE", LABEL if "LABEL" in globals() else sys.argv[1], json.dumps(seen()), flush=True)
"""
"""Prints what a process finds itself in: the user's own, or a child of it, which cannot have less than its parent."""

PYTHON_HOOK = "import posix\nposix.write(1, b'STATE %s {}\\n')\n"  # imports nothing that another hook stands for
SHELL_HOOK = '(exec -c /usr/bin/python3 -I -S -c "$STATE" %s)\n'
NODE_HOOK = """
require('child_process').execFileSync(
    '/usr/bin/python3', ['-I', '-S', '-c', process.env.STATE, '%s'], {env: {}, stdio: ['ignore', 'inherit', 'inherit']})
"""
CODE = {
    "python": "import os\nexec(os.environ['STATE'], {'LABEL': 'code'})\ndef handler(event): pass\n",
    "shell": SHELL_HOOK % "code",
    "javascript": NODE_HOOK % "code",
}

PYTHON_FILES = [
    *("sitecustomize", "usercustomize", "site", "os", "json", "_json", "marshal", "resource", "signal", "_signal"),
    *("_ctypes", "ctypes", "encodings", "traceback", "asyncio", "__main__", "handler"),
]
USER_SITES = [f".local/lib/python3.{minor}/site-packages" for minor in range(9, 20)]
PLANTED = {
    **{f"{name}.py": PYTHON_HOOK % name for name in PYTHON_FILES},
    "hook.pth": "import sitecustomize",
    **{f"{site}/hook.pth": "import usercustomize" for site in USER_SITES},
    **{f"{site}/usercustomize.py": PYTHON_HOOK % "user-site" for site in USER_SITES},
    "customized/sitecustomize.py": PYTHON_HOOK % "customized",
    "pyvenv.cfg": "home = /workspace",
    "python311._pth": "/workspace",
    ".pythonrc": PYTHON_HOOK % "pythonrc",
    **{f"node_modules/{name}/index.js": NODE_HOOK % name for name in ("fs", "path", "planted", "child_process")},
    "package.json": '{"type": "module", "main": "required.js", "scripts": {"preinstall": "false"}}',
    ".node-version": "0.1",
    ".nvmrc": "0.1",
    ".noderc": NODE_HOOK % "noderc",
    "handler.js": NODE_HOOK % "handler.js",
    "required.cjs": NODE_HOOK % "required",
    **{name: SHELL_HOOK % name for name in (".bashrc", ".bash_profile", ".bash_login", ".profile", ".bash_logout")},
    **{name: SHELL_HOOK % name for name in ("bash_env.sh", "handler.sh", "ls", "cat", "python3")},
    "env.sh": "echo 'STATE env.sh {}'",  # for sh, which has no exec -c
    "libc.so.6": "no library",
    "planted.so": "no library",
}
ELSEWHERE = {  # /tmp is the run's own, and node looks for packages beside the program, which lies there
    "/tmp/package.json": '{"type": "module"}',
    "/tmp/node_modules/fs/index.js": NODE_HOOK % "tmp",
    "/tmp/handler.js": NODE_HOOK % "tmp",
    "/dev/shm/hook.pth": "import sitecustomize",
}
ENVIRONMENT = {
    "STATE": STATE,
    "HOME": "/workspace",
    "PATH": "/workspace:/usr/bin",
    "PYTHONPATH": "/workspace",
    "PYTHONHOME": "/workspace",
    "PYTHONSTARTUP": "/workspace/.pythonrc",
    "PYTHONUSERBASE": "/workspace/.local",
    "PYTHONPLATLIBDIR": "/workspace",
    "PYTHONINSPECT": "1",
    "PYTHONWARNINGS": "error",
    "NODE_OPTIONS": "--require /workspace/required.cjs",
    "NODE_PATH": "/workspace/node_modules",
    "BASH_ENV": "/workspace/bash_env.sh",
    "ENV": "/workspace/env.sh",
    "PROMPT_COMMAND": ". /workspace/.bashrc",
    "EVENT_FILE": "/workspace/event",
    "LD_PRELOAD": "/workspace/planted.so",
}
ASKED_FOR = {"python": [], "javascript": ["required"], "shell": ["bash_env.sh"]}
"""Hooks that the request's own variables ask the interpreter to run, in the user's process."""

PLANT = """
import os
def handler(event):
    for path, text in event.items():
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w") as file: file.write(text)
        os.chmod(path, 0o755)
"""


def expected_state(descriptors: list[int]) -> dict[str, Any]:
    limits = {str(number): list(resource.getrlimit(number)) for number in range(16)}
    for kind, soft, hard in build_rlimits(Limits.from_request(ExecutionLimits(**LIMITS)), others=2):
        ceiling = limits[str(kind)][1]
        limits[str(kind)] = [min(soft, ceiling), min(hard, ceiling)] if ceiling != -1 else [soft, hard]
    return {
        "seccomp mode": 2,
        "no_new_privs": 1,
        "capabilities": [0] * 6,
        "bounding set": [],
        "ambient set": [],
        "unshare": [-1, 1],
        "user": [[1000] * 3, [1000] * 3, []],
        "process 1": False,
        "descriptors": descriptors,
        "limits": limits,
    }


def states(run: SimpleNamespace) -> list[tuple[str, dict[str, Any]]]:
    """(who, what it found itself in), in the order in which they ran."""
    lines = [line.split(" ", 2) for line in run.stdout.splitlines() if line.startswith("STATE ")]
    return [(label, json.loads(found)) for _, label, found in lines]


@pytest.fixture
def hostile(driver: Driver) -> Callable[..., SimpleNamespace]:
    """Runs code in a session whose earlier run has planted everything that an interpreter might take up."""
    session = "hostile"
    planted = driver.run(PLANT, session=session, event={**PLANTED, **ELSEWHERE})
    assert planted.exit_code == 0, planted.stderr

    def run(language: str, code: str, **env: str) -> SimpleNamespace:
        return driver.run(code, language=language, session=session, env=env, limits=LIMITS)

    return run


@pytest.mark.parametrize("language", ["python", "javascript", "shell"])
def test_a_planted_workspace_runs_nothing_before_the_code(
    hostile: Callable[..., SimpleNamespace], language: str
) -> None:
    run = hostile(language, CODE[language], STATE=STATE)
    assert (run.exit_code, run.stderr) == (0, "")
    assert states(run) == [("code", expected_state([0, 1, 2, 3] if language == "python" else [0, 1, 2]))]


@pytest.mark.parametrize("language", ["python", "javascript", "shell"])
def test_what_the_environment_asks_for_and_the_code_start_with_everything_in_place(
    hostile: Callable[..., SimpleNamespace], language: str
) -> None:
    run = hostile(language, CODE[language], **ENVIRONMENT)
    assert run.exit_code == 0, run.stderr
    found = states(run)
    assert [label for label, _ in found] == [*ASKED_FOR[language], "code"]
    for _, state in found:
        assert state == expected_state([0, 1, 2, 3] if language == "python" else [0, 1, 2])
    # The loader complains once for each program that it starts with the variable: for Python there is none after
    # process 1, for the others the interpreter that the user's process becomes.
    assert run.stderr.count("planted.so") == (0 if language == "python" else 1)


@pytest.mark.parametrize("language", ["python", "javascript", "shell"])
def test_a_library_path_breaks_the_users_own_programs_and_nothing_else(
    hostile: Callable[..., SimpleNamespace], language: str
) -> None:
    code = {
        "python": "import subprocess\ndef handler(event): return subprocess.run(['/usr/bin/ls']).returncode",
        "javascript": "console.log('ran')",
        "shell": "echo ran",
    }
    run = hostile(language, code[language], LD_LIBRARY_PATH="/workspace")
    assert run.ending == "exited"
    assert run.stdout == ""
    assert "/workspace/libc.so.6" in run.stderr
    if language == "python":
        assert run.result["return_value"] == 127
    else:
        assert run.exit_code == 127


@pytest.mark.parametrize(
    ("command", "hook"),
    [
        ("PYTHONPATH=/workspace /usr/bin/python3 -c pass", "encodings"),
        ("PYTHONPATH=/workspace/customized /usr/bin/python3 -c pass", "customized"),
        ("/usr/bin/python3 -c 'import json'", "json"),
        ("PYTHONUSERBASE=/workspace/.local /usr/bin/python3 -P -c pass", "user-site"),
        ("PYTHONSTARTUP=/workspace/.pythonrc /usr/bin/python3 -i", "pythonrc"),
        ("/usr/bin/node -r ./required.cjs -e 0", "required"),
        ("/usr/bin/node -e 'require(\"planted\")'", "planted"),
        ("HOME=/workspace bash -i -c :", ".bashrc"),
        ("HOME=/workspace bash -l -c :", ".bash_profile"),
        ("BASH_ENV=/workspace/bash_env.sh bash -c :", "bash_env.sh"),
        ("ENV=/workspace/env.sh sh -i -c :", "env.sh"),
        ("PATH=/workspace ls", "ls"),
    ],
)
def test_the_planted_hooks_work(full: Driver, command: str, hook: str) -> None:
    """The proof that the tests above could fail."""
    full.run(PLANT, session="teeth", event=PLANTED)
    run = full.run(command + " </dev/null", language="shell", session="teeth", env={"STATE": STATE}, limits=LIMITS)
    assert hook in [label for label, _ in states(run)], run.stderr


WAIT = {
    "python": "import os, time\nopen('ready', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)\n"
    "def handler(event): pass\n",
    "javascript": "const fs = require('fs'); fs.writeFileSync('ready', '')\n"
    "const look = () => { if (!fs.existsSync('go')) setTimeout(look, 10) }\nlook()",
    "shell": "mkfifo pipe; : > ready; until [ -e go ]; do read -r -t 0.01 <> pipe; done; true",
}


def find_processes(driver: Driver, workspace: Path) -> tuple[psutil.Process, psutil.Process, psutil.Process]:
    """bwrap, process 1 and the user's process of what runs in a workspace: a keeper has started the first two."""
    for process in psutil.Process(driver.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # of others that end meanwhile
            if process.name() == "bwrap" and str(workspace) in process.cmdline():
                keeper = process.parent()
                assert keeper is not None
                (process_1,) = [child for child in keeper.children() if child != process]
                (user,) = process_1.children()
                return process, process_1, user
    raise AssertionError("nothing runs there")


@pytest.mark.parametrize("language", ["python", "javascript", "shell"])
def test_process_1_and_bwrap_have_nothing_of_the_environment_or_the_workspace(driver: Driver, language: str) -> None:
    session = f"waits-{language}"
    workspace = driver.root / "workspaces" / session_name(session)
    driver.run(PLANT, session=session, event={**PLANTED, **ELSEWHERE})
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            driver.run, WAIT[language], language=language, session=session, env=ENVIRONMENT, limits=LIMITS
        )
        try:
            deadline = time.monotonic() + 50
            while not (workspace / "ready").exists():
                assert not running.done(), running.result().stderr
                assert time.monotonic() < deadline
                time.sleep(0.01)
            bwrap, process_1, user = find_processes(driver, workspace)
            seen = {process.pid: look_at(process.pid) for process in (bwrap, process_1)}
            users_variables = names_in((Path("/proc") / str(user.pid) / "environ").read_bytes())
        finally:
            (workspace / "go").touch()
    assert running.result().exit_code == 0, running.result().stderr
    assert seen[bwrap.pid]["variables"] == set()
    assert seen[process_1.pid]["variables"] <= {"LANG", "PWD"}
    for found in seen.values():
        assert not any("planted" in line or str(workspace) in line for line in found["mapped"])
        assert "/workspace/" not in found["argv"]
        assert STATE not in found["argv"]
        assert (found["NoNewPrivs"], found["CapEff"], found["CapBnd"]) == ("1", "0" * 16, found["CapBnd"])
    assert (seen[process_1.pid]["Seccomp"], seen[process_1.pid]["CapBnd"]) == ("2", "0" * 16)
    if language != "python":  # the proof that this look would have found them: exec shows the new environment
        assert set(ENVIRONMENT) <= users_variables


def look_at(pid: int) -> dict[str, Any]:
    """What a process was started with and has loaded."""
    entry = Path("/proc") / str(pid)
    status = dict(line.split(":\t", 1) for line in (entry / "status").read_text().splitlines())
    return {
        **status,
        "variables": names_in((entry / "environ").read_bytes()),
        "argv": (entry / "cmdline").read_text(),
        "mapped": (entry / "maps").read_text().splitlines(),
    }


def names_in(environ: bytes) -> set[str]:
    return {item.partition(b"=")[0].decode() for item in environ.split(b"\0") if item}
