"""What is left in the workspace for the executor to find, list, open and remove: the attacker chose every name.

Links, things that are no files, names that are paths, and more of each than anybody wants.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.security.attempts.effects import any_of, fetch, late, listed, swelled, workspace_stays
from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.snippets import EVENT, FACTS, leaked

if TYPE_CHECKING:
    from tests.security.attempts.world import World

_LISTED_BYTES: Final = 4 * 2**20
_HIDDEN: Final = "what-is-in-a-hidden-file"

LINKS: Final = (
    EVENT
    + """
const other = event.other_workspace_path
const targets = [event.canary_path, event.watched_path, other + '/secret.txt',
  '../' + other.split('/').pop() + '/secret.txt', '/proc/self/environ',
  `/proc/${event.executor_pid}/environ`, `/proc/${event.victim_pid}/environ`, '/etc/passwd',
  '/dev/zero', '/dev/stdin', '/proc/self/fd/0', event.results_path, 'link-0', '.']
targets.forEach((target, number) => fs.symlinkSync(target, 'link-' + number))
const directories = [other, event.workspaces_path, event.results_path, '/', '..', '.', '/proc/self']
directories.forEach((directory, number) => fs.symlinkSync(directory, 'directory-' + number))
fs.mkdirSync('below'), fs.symlinkSync('../../..', 'below/up'), fs.symlinkSync(event.canary_path, 'below/report.csv')
fs.writeFileSync('plain', 'x')
"""
)

HARD_LINKS: Final = """
import os
def handler(event):
    own = [event["workspaces_path"] + "/" + name for name in names(event)] + ["."]
    sources = [event["canary_path"], event["other_workspace_path"] + "/secret.txt", "/usr/bin/bash", "/proc/self/exe",
        "/proc/self/fd/0", "/proc/1/environ", "/dev/null", "/tmp/event.json"]
    number = 0
    for source in sources:
        for directory in own:
            for follow in (True, False):
                number += 1
                try:
                    os.link(source, f"{directory}/linked-{number}", follow_symlinks=follow)
                except OSError:
                    pass
def names(event):
    try:
        return [name for name in os.listdir(event["workspaces_path"]) if name.startswith(event["execution_id"])]
    except OSError:
        return []
"""

NO_FILES: Final = """
import os, socket
def handler(event):
    os.mkdir("below")
    for directory in (".", "below"):
        for name in ("special.csv", "special-1"):
            os.mkfifo(f"{directory}/{name}.fifo")
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{directory}/{name}.socket")
        for number, kind in enumerate((0o020666, 0o060666)):
            try:
                os.mknod(f"{directory}/special-device-{number}", kind, os.makedev(1, 5))
            except OSError:
                pass
"""

SWAPPED: Final = (
    FACTS
    + """
for number in $(seq 20); do mkdir -p "dir$number"; echo own > "dir$number/secret.txt"; done
swap() {
    while :; do
        for number in $(seq 20); do
            mv "dir$number" ".aside$number"; ln -s "$1" "dir$number"
            rm "dir$number"; mv ".aside$number" "dir$number"
            mv "dir$number" ".aside$number"; ln -s "$1" "dir$number"
        done
        for number in $(seq 20); do rm "dir$number"; mv ".aside$number" "dir$number"; done
    done
}
swap "$(fact other_workspace_path)" < /dev/null > /dev/null 2>&1 &
disown
sleep 0.4
"""
)
"""An orphan goes on exchanging directories for links when the run has ended and they are listed."""

NAMES: Final = r"""
import hashlib, os
NAMES = [
    b"new\nline", b"\x1b[2J\x07bell", b"\x7f", b"\r\nSet-Cookie: a=b", b" ", b"x" * 255,
    b"\xff\xfe", b"caf\xc3\xa9", b"\xe2\x80\xae.txt", b"\xed\xa0\x80", b"\xc0\xae\xc0\xae",
    b"-rf", b"--help", b"*", b"~", b"$(reboot)", b"`id`", b"a\\..\\b", b"con", b"a:b", b"http:x", b"<script>",
    b"%2e%2e%2fcanary", b"a%2Fb", b"a%252Fb", b"a%00b", b"a?b=c", b"a#b", b"a;b", b"a+b",
]
def handler(event):
    os.mkdir("a")
    for name in [*NAMES, b"a/b", b"a/new\nline"]:
        with open(name, "wb") as file:
            file.write(hashlib.sha256(name).hexdigest().encode())
"""

MANY: Final = """
import os
def handler(event):
    # Names of a few files: a busy disk would take minutes to make as many files.
    for number in range(100_000):
        if number % 5000 == 0:
            os.mkdir(f"d{number}")
        if number % 50_000 == 0:
            os.mknod(f"file{number}", 0o100600)
        os.link(f"file{number // 50_000 * 50_000}", f"d{number // 5000 * 5000}/{number}")
"""

LONG_PATHS: Final = """
import os
def handler(event):
    for _ in range(60):
        os.mkdir("d" * 255)
        os.chdir("d" * 255)
    for number in range(1500):
        os.mknod(f"{number:04d}" + "f" * 250, 0o100600)
"""

DEEP: Final = """
import os
def handler(event):
    for _ in range(LEVELS):
        os.mkdir("d")
        os.chdir("d")
    open("bottom", "w").close()
"""

CLOSED: Final = """
mkdir -p .a/b/c closed/d; touch .a/b/c/file .a/file closed/d/file .unreadable
ln -s / .a/b/link; mkfifo .a/b/c/fifo
chmod 000 .unreadable .a/b/c/file .a/b/c .a/b .a closed/d closed
chmod 000 .
"""

SPARSE: Final = """
import os
def handler(event):
    for name, size in ((".sparse", 1 << 40), (".larger", 1 << 42)):
        with open(name, "wb") as file:
            for step in (lambda: os.ftruncate(file.fileno(), size), lambda: os.pwrite(file.fileno(), b"x", size - 1)):
                try:
                    step()
                except OSError:
                    pass
    open("seen", "w").close()
"""

HIDDEN: Final = (
    FACTS
    + f"""
mkdir -p .hidden sub/.hidden
for name in .hidden/file sub/.hidden/file .file sub/.file .progress.json; do echo '{_HIDDEN}' > "$name"; done
ln -s "$(fact canary_path)" link; ln -s "$(fact other_workspace_path)" directory
mkfifo fifo; mkdir -p a; touch a/b seen
"""
)


def _lists_no_file(_world: "World", outcome: Outcome) -> bool:
    return any("special" in path for path in outcome.result.get("artifacts", ()))


def _gives_another(_world: "World", outcome: Outcome) -> bool:
    """A name's content is not what was written under it, or one that was listed has none."""
    found = outcome.artifacts.items()
    return any(hashlib.sha256(name.encode()).hexdigest() != body.decode("latin-1") for name, body in found)


def _lists_too_long(_world: "World", outcome: Outcome) -> bool:
    return sum(len(path) for path in outcome.result.get("artifacts", ())) > _LISTED_BYTES


def _linked(world: "World", outcome: Outcome) -> bool:
    """A file that is not the attacker's has got a name in a workspace."""
    return world.canary_changed() or world.leaked(outcome)


def _is_large(world: "World", outcome: Outcome) -> bool:
    found = world.workspaces.glob(f"{outcome.result.get('execution_id')}-*/.*")
    return any(path.lstat().st_size > 2**31 for path in found)


def _traverses(world: "World", outcome: Outcome) -> bool:
    """Paths that no listing gives, as a client may be talked into asking for them."""
    execution_id = str(outcome.result.get("execution_id"))
    up = len(Path(world.facts()["workspaces_path"]).parts) + 3
    paths = [climb * count + target for count in (1, 2, 3, up) for climb in _CLIMBS for target in _targets(world)]
    paths += ["", "x" * 5000, *_PATHS.split()]
    bodies = [fetch(world, f"/executions/{execution_id}/artifacts/{path}") for path in paths]
    other = world.facts()["other_execution_id"]
    for name in (other, f"{execution_id}/../{other}"):
        bodies.append(fetch(world, f"/executions/{name}/artifacts/secret.txt"))
    found = b"".join(bodies).decode("latin-1")
    return any(text in found for text in (*world.secrets.values(), _HIDDEN, "root:"))


_CLIMBS: Final = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "%252e%252e%252f", "....//", "a/../../", "..;/"]
_PATHS: Final = """
    .hidden/file sub/.hidden/file .file sub/.file .progress.json %2ehidden/file sub/%2efile
    link directory/secret.txt fifo a . seen/../link seen%00.txt a//b %ff
"""


def _targets(world: "World") -> list[str]:
    other = Path(world.facts()["other_workspace_path"])
    return [
        "canary",
        "etc/passwd",
        f"{other.name}/secret.txt",
        f"workspaces/{other.name}/secret.txt",
        str(world.canary),
    ]


LISTED: Final = (
    Attempt("artifacts/links", "javascript", LINKS, leaked(), without=("artifact_links",)),
    Attempt("artifacts/hard-links", "python", HARD_LINKS, _linked, without=("mount",)),
    Attempt("artifacts/no-files", "python", NO_FILES, _lists_no_file, without=("artifact_links",)),
    Attempt("artifacts/swapped", "shell", SWAPPED, leaked(), without=("artifact_links",)),
    Attempt("artifacts/names", "python", NAMES, _gives_another, without=("artifact_path",)),
    Attempt(
        "artifacts/many",
        "python",
        MANY,
        any_of(listed("d", 10_000), swelled, late(100)),
        without=("artifact_bounds",),
        request={"timeout": 100, "limits": {"workspace_entries": 200_000}},
    ),
    Attempt(
        "artifacts/long-paths", "python", LONG_PATHS, any_of(_lists_too_long, swelled), without=("artifact_bounds",)
    ),
    Attempt("artifacts/traversal", "shell", HIDDEN, _traverses, without=("artifact_path",)),
)

REMOVED: Final = (
    Attempt(
        "artifacts/deep",
        "python",
        DEEP.replace("LEVELS", "10_000"),
        any_of(workspace_stays, late(30)),
        without=("disk_watch", "removal"),
    ),
    Attempt("artifacts/closed", "shell", CLOSED, workspace_stays, without=("removal",)),
    Attempt("artifacts/sparse", "python", SPARSE, _is_large, without=("limits",)),
)

ATTEMPTS: Final = (*LISTED, *REMOVED)
