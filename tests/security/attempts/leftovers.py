"""What one execution leaves for the next, on the same executor or in the same session, and for the host."""

from typing import TYPE_CHECKING, Final

from contracts.executor_api import Language
from tests.security.attempts.effects import sent_progress, workspace_stays
from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.snippets import FACTS, Effect, printed

if TYPE_CHECKING:
    from tests.security.attempts.world import World

_LEFT: Final = "left-by-the-one-before"
_PLANTED: Final = "PLANTED CODE RUNS"


def _found(_world: "World", outcome: Outcome) -> bool:
    return _LEFT in outcome.everything


def _planted_ran(_world: "World", outcome: Outcome) -> bool:
    return _PLANTED in outcome.everything


def _failed(_world: "World", outcome: Outcome) -> bool:
    return bool(outcome.result["status"] != "success")


def _left_processes(world: "World", outcome: Outcome) -> bool:
    return world.processes_left(outcome)


def _told_progress(world: "World", outcome: Outcome) -> bool:
    return bool(sent_progress(world, outcome))


def _touched_canary(world: "World", outcome: Outcome) -> bool:
    """Looked at once the workspace is gone."""
    workspace_stays(world, outcome)
    return world.canary_changed()


# --- for whoever comes next ---

LEAVE_FILES: Final = f"""
for directory in . /tmp /dev/shm "$HOME" "$TMPDIR" /dev /usr /var/tmp /run /; do
    mkdir -p "$directory/{_LEFT}" "$directory/.{_LEFT}" && echo x > "$directory/{_LEFT}/file"
    echo x > "$directory/{_LEFT}.txt"
done 2>/dev/null
true
"""

FIND_FILES: Final = """
import os
def handler(event):
    return [os.listdir(path) for path in (".", "/tmp", "/dev/shm", "/dev", "/", "/usr", os.environ["HOME"])]
"""

LEAVE_PROCESSES: Final = """
import os, signal, time
def handler(event):
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            if os.fork() == 0:
                os.closerange(0, 100)
                os.execv("/usr/bin/sleep", ["sleep", "60"])
            os._exit(0)
"""

LEAVE_SOCKETS: Final = f"""
import os, socket, time
def handler(event):
    kept = []
    for address in ("\\0{_LEFT}", "/tmp/{_LEFT}", "/dev/shm/{_LEFT}"):
        kept.append(socket.socket(socket.AF_UNIX))
        kept[-1].bind(address)
        kept[-1].listen()
    if os.fork() == 0:
        os.setsid()
        time.sleep(60)
"""

FIND_SOCKETS: Final = f"""
import socket
def handler(event):
    for address in ("\\0{_LEFT}", "/tmp/{_LEFT}", "/dev/shm/{_LEFT}"):
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(address)
            print("{_LEFT}")
        except OSError:
            pass
"""

# --- in a session ---

PLANT_PYTHON: Final = """
import os, sys
PLANTED = "print('PLANTED' + ' CODE RUNS', flush=True)" + chr(10)
def handler(event):
    names = ("json", "handler", "sitecustomize", "usercustomize", "subprocess", "encodings/__init__", "colorsys",
        "__main__", "os", "site", "antigravity", "numpy", "setup", "conftest")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for directory in (".", "lib", f".local/lib/{version}/site-packages", f"lib/{version}/site-packages", "__pycache__"):
        for name in names:
            path = f"{directory}/{name}.py"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(PLANTED)
        with open(f"{directory}/planted.pth", "w") as file:
            file.write("import sys; sys.stdout.write('PLANTED' + ' CODE RUNS'); sys.stdout.flush()" + chr(10))
    for name in ("pyvenv.cfg", ".pythonrc", "python._pth"):
        with open(name, "w") as file:
            file.write("home = /workspace" + chr(10))
"""

USE_PYTHON: Final = """
import colorsys, json, subprocess
def handler(event):
    import sched
    return json.dumps(colorsys.rgb_to_hsv(0, 0, 1))
"""

USE_PYTHON_PROGRAM: Final = """
import subprocess
def handler(event):
    program = ["python3", "-c", "import sys; print(len(sys.path))"]
    done = subprocess.run(program, capture_output=True, text=True, cwd="/tmp")
    print(done.stdout, done.stderr)
"""

PLANT_NODE: Final = """
const { mkdirSync, writeFileSync } = require('fs')
const planted = "console.log('PLANTED' + ' CODE RUNS')"
for (const name of ['helper', 'fs', 'child_process', 'lodash']) {
  for (const directory of ['node_modules', '.node_modules', '.node_libraries', 'lib/node']) {
    mkdirSync(`${directory}/${name}`, { recursive: true })
    writeFileSync(`${directory}/${name}/index.js`, planted)
  }
}
writeFileSync('package.json', '{"main": "index.js", "imports": {"#x": "./index.js"}}')
for (const name of ['index.js', 'handler.js', '.noderc', '.node_repl_history']) writeFileSync(name, planted)
writeFileSync('.npmrc', 'node-options=--require /workspace/index.js\\nscript-shell=/workspace/index.js')
writeFileSync('node.config.json', '{"nodeOptions": {"import": ["/workspace/index.js"]}}')
"""

USE_NODE: Final = """
require('fs'); require('child_process')
for (const name of ['helper', 'lodash']) { try { require(name) } catch (error) { console.log(error.code) } }
"""

PLANT_SHELL: Final = """
for name in .bashrc .bash_profile .bash_login .profile .bash_logout .inputrc .shrc .env .zshenv; do
    echo "echo PLANTED' 'CODE' 'RUNS" > "$name"
done
for name in ls cat true python3 node env; do
    printf '#!/bin/sh\\necho PLANTED" "CODE" "RUNS\\n' > "$name"; chmod 755 "$name"
done
"""

USE_SHELL: Final = """
bash -lc true
bash -ic true 2>/dev/null
ls > /dev/null; cat /dev/null; true
env -i bash -c true
python3 -c ''
"""

PLANT_PROGRESS: Final = """echo '{"percent": 100}' > .progress.json"""

CLOSE_WORKSPACE: Final = "mkdir closed; touch closed/file; chmod 000 closed; chmod 000 /workspace"

USE_WORKSPACE: Final = """
import os
def handler(event):
    with open("own", "w") as file:
        file.write("x")
    return os.listdir(".")
"""

# --- for the host ---

LEAVE_LINKS: Final = """
import os
def handler(event):
    place = os.path.dirname(event["canary_path"])
    for number in range(3):
        os.makedirs(f".below-{number}/deeper")
        for directory in (".", f".below-{number}", f".below-{number}/deeper"):
            os.symlink(event["canary_path"], f"{directory}/.canary-{number}")
            os.symlink(event["watched_path"], f"{directory}/.watched-{number}")
            os.symlink(place, f"{directory}/.directory-{number}")
    os.chmod(".below-0/deeper", 0)
    os.chmod(".below-1", 0)
    os.symlink(place, ".below-2/deeper/.last")
"""

LEAVE_DISK: Final = """
mkdir -p .big/.bigger; for number in $(seq 20); do head -c 1000000 /dev/zero > ".big/.bigger/$number"; done
exec 9> .big/open; head -c 5000000 /dev/zero >&9; rm .big/open
chmod 555 .big .big/.bigger
(exec 8> .held; rm .held; sleep 60) > /dev/null 2>&1 &
disown
"""


def _step(
    name: str, language: Language, code: str, effect: Effect, session_id: str | None = None
) -> tuple[Attempt, ...]:
    """The one that asks what the one before has left; it is never made by itself."""
    request = {"session_id": session_id} if session_id else {}
    return (Attempt(f"leftovers/{name}-seen", language, code, effect, unproved="a part of another", request=request),)


NEXT: Final = (
    Attempt(
        "leftovers/files",
        "shell",
        LEAVE_FILES,
        _found,
        without=("new_workspace", "new_tmp"),
        then=_step("files", "python", FIND_FILES, _found),
    ),
    Attempt(
        "leftovers/processes",
        "python",
        LEAVE_PROCESSES,
        _left_processes,
        without=("pid",),
        then=_step("processes", "shell", "true", _left_processes),
    ),
    Attempt(
        "leftovers/sockets",
        "python",
        LEAVE_SOCKETS,
        printed(_LEFT),
        without=("pid", "net", "new_tmp"),
        then=_step("sockets", "python", FIND_SOCKETS, printed(_LEFT)),
    ),
)

_SESSIONS: Final[tuple[tuple[str, tuple[Language, str], tuple[Language, str], Effect, str], ...]] = (
    ("python-modules", ("python", PLANT_PYTHON), ("python", USE_PYTHON), _planted_ran, "session_path"),
    ("python-home", ("python", PLANT_PYTHON), ("python", USE_PYTHON_PROGRAM), _planted_ran, "home"),
    ("node-modules", ("javascript", PLANT_NODE), ("javascript", USE_NODE), _planted_ran, "session_program"),
    ("shell-profile", ("shell", PLANT_SHELL), ("shell", USE_SHELL), _planted_ran, "home"),
    (
        "progress",
        ("shell", PLANT_PROGRESS),
        ("shell", f'{FACTS}sleep "$(fact beat_s)"'),
        _told_progress,
        "progress_before",
    ),
    ("closed", ("shell", CLOSE_WORKSPACE), ("python", USE_WORKSPACE), _failed, "workspace_mode"),
)
"""Two runs of one session: what the first plants, the second must not meet. Name, both, effect, protection."""

SESSIONS: Final = tuple(
    Attempt(
        f"leftovers/{name}",
        *planted,
        effect,
        without=(protection,),
        request={"session_id": f"attempts-{name}"},
        then=_step(name, *used, effect, session_id=f"attempts-{name}"),
    )
    for name, planted, used, effect, protection in _SESSIONS
)

HOST: Final = (
    Attempt("leftovers/links", "python", LEAVE_LINKS, _touched_canary, without=("removal",)),
    Attempt("leftovers/disk", "shell", LEAVE_DISK, workspace_stays, without=("no_removal",)),
)

ATTEMPTS: Final = (*NEXT, *SESSIONS, *HOST)
