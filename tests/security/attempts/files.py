"""Files that are not the attacker's: the host's, the pod's, other executions', and the programs that all share."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import executor_runtime
from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.snippets import EVENT, leaked, printed

if TYPE_CHECKING:
    from tests.security.attempts.world import World

_CODE: Final = Path(executor_runtime.__file__).parent
_MARKER: Final = "put-there-by-another-run"

ACCOUNTS: Final = """
for file in passwd shadow group hosts hostname resolv.conf machine-id os-release mtab fstab crontab sudoers; do
    cat "/etc/$file" "/proc/self/root/etc/$file" "/usr/../etc/$file" "/proc/1/root/etc/$file"
done 2>/dev/null
cat /var/run/secrets/kubernetes.io/serviceaccount/token /run/secrets/*/* /root/.* /home/*/.* 2>/dev/null
true
"""

CANARY: Final = (
    EVENT
    + """
const path = event.canary_path
const ways = ['', '/', '/proc/self/root', '/proc/thread-self/root', '/proc/self/cwd/../..', '/dev/fd/../root',
  '/dev/stdin/../..', '/workspace/..', '/tmp/../..', '/lib64/../..', '/usr/..', '/oldroot', '/newroot', '/proc/1/root',
  '/proc/1/cwd', '../'.repeat(40), 'file://']
for (const name of ways.map((way) => way + path)) {
  try { console.log(fs.readFileSync(name, 'utf8')) } catch (error) { console.error(error.message) }
}
"""
)

SEARCH: Final = r"""
find / \( -path /proc -o -path /sys -o -path /usr \) -prune -o -maxdepth 6 -type f \
    \( -name canary -o -name watched -o -name secret.txt -o -name '*.json' -path '*results*' \) -print 2>/dev/null |
while read -r file; do cat "$file"; done
true
"""

OTHER_WORKSPACES: Final = (
    EVENT
    + """
const tops = [event.workspaces_path, event.other_workspace_path, event.results_path, '..', '/proc/self/cwd/..',
  '/workspace/../workspaces', '/tmp/results', '/proc/1/cwd', '/proc/self/root' + event.workspaces_path]
const walk = (path, depth) => {
  try {
    if (depth < 4 && fs.lstatSync(path).isDirectory()) {
      if (path.startsWith('/proc/') && depth > 1) return
      fs.readdirSync(path).slice(0, 50).forEach((name) => walk(path + '/' + name, depth + 1))
    } else if (path.endsWith('secret.txt') || path.includes('results')) console.log(fs.readFileSync(path, 'utf8'))
  } catch (error) { console.error(error.message) }
}
tops.forEach((path) => walk(path, 0))
"""
)

EXECUTOR_CODE: Final = """
import os
def handler(event):
    found = []
    for top in ("CODE", "/opt/sandbox-executor", "/src", "/app", "/proc/self/root" + "CODE"):
        for directory, _, names in os.walk(top):
            for name in names:
                path = os.path.join(directory, name)
                try:
                    with open(path, "rb") as file:
                        found.append(file.read(200).decode("latin-1"))
                    with open(path, "ab"):
                        found.append("and it can be written")
                except OSError as error:
                    found.append(type(error).__name__)
    return found[:50]
""".replace("CODE", str(_CODE))

PROCESS_VIEWS: Final = """
import os
def handler(event):
    found = []
    for pid in {"self", "thread-self", 1, os.getppid(), event["executor_pid"], event["victim_pid"], event["other_pid"]}:
        for way in ("root", "cwd", "task/1/root", "task/1/cwd", "map_files"):
            for path in (event["canary_path"], "/tmp/secret.txt", "/secret.txt", "/../../../.." + event["canary_path"]):
                try:
                    with open(f"/proc/{pid}/{way}{path}") as file:
                        found.append(file.read())
                except OSError as error:
                    found.append(error.strerror)
        for name in ("environ", "cmdline", "mountinfo", "maps", "auxv", "stack", "io", "wchan", "fdinfo/3"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    found.append(file.read(10_000).decode("latin-1"))
            except OSError as error:
                found.append(error.strerror)
    return found
"""


REPLACED_PROGRAMS: Final = """
write() { mkdir -p "${1%/*}"; printf '#!/bin/sh\\necho MARKER\\n' > "$1"; chmod 755 "$1"; }
for directory in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin /lib /dev /proc/self/root/usr/bin; do
    write "$directory/uname"
    mv /usr/bin/uname "$directory/uname.real" && write /usr/bin/uname
done
for file in /etc/ld.so.preload /etc/profile /etc/environment /etc/alternatives/uname; do write "$file"; done
true
""".replace("MARKER", _MARKER)

LINKS: Final = """
import glob, os
def handler(event):
    here = glob.glob(event["workspaces_path"] + "/" + event["execution_id"] + "-*")
    for number, target in enumerate((event["canary_path"], event["other_workspace_path"] + "/secret.txt")):
        for directory in ("/workspace", *here):
            for link in (os.link, os.symlink):
                try:
                    link(target, f"{directory}/link-{link.__name__}-{number}")
                except OSError:
                    pass
    # a file without a name, given one outside
    for directory in ("/workspace", "/tmp", "/dev/shm"):
        try:
            unnamed = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)
            os.write(unnamed, b"changed")
        except OSError:
            continue
        for target in (event["canary_path"], event["watched_path"], os.path.dirname(event["watched_path"]) + "/made"):
            for source in (f"/proc/self/fd/{unnamed}", f"/dev/fd/{unnamed}"):
                try:
                    os.link(source, target, follow_symlinks=True)
                except OSError:
                    pass
    for target in (event["canary_path"], event["watched_path"]):
        for spoil in (
            lambda: os.rename("/workspace/link-symlink-0", target),
            lambda: os.chmod(target, 0o777),
            lambda: os.utime(target),
            lambda: os.truncate(target, 0),
            lambda: os.replace(target, "/workspace/taken"),
        ):
            try:
                spoil()
            except OSError:
                pass
"""


MOUNT_DESTINATIONS: Final = """
import os
def handler(event):
    outside = os.path.dirname(event["canary_path"])
    for name in os.listdir("/workspace"):
        os.rename("/workspace/" + name, "/workspace/was-" + name)
    for name in (".cache", ".config", ".local", ".npm", "tmp", "dev", "proc", "usr", "etc", "run", "workspace"):
        os.symlink("/oldroot" + outside, "/workspace/" + name)
"""


def _accounts_were_read(_world: "World", outcome: Outcome) -> bool:
    return any(line.startswith("root:") for line in outcome.result["stdout"].splitlines())


def _code_was_read(_world: "World", outcome: Outcome) -> bool:
    files = outcome.result["return_value"] or ()
    return any(path.read_text()[:200] in files for path in _CODE.glob("*.py"))


def _spoilt_or_leaked(world: "World", outcome: Outcome) -> bool:
    return world.canary_changed() or world.leaked(outcome)


def _made_outside(world: "World", _outcome: Outcome) -> bool:
    made = world.canary.with_name("made-by-a-mount")
    if not made.exists():
        return False
    made.rmdir()
    return True


def _follows_links() -> bool:
    """bubblewrap before 0.12 makes destinations through links."""
    done = subprocess.run(["bwrap", "--version"], capture_output=True, text=True)
    return tuple(int(part) for part in done.stdout.split()[1].split(".")[:2]) < (0, 12)


ATTEMPTS: Final = (
    Attempt("files/accounts", "shell", ACCOUNTS, _accounts_were_read, without=("mount",)),
    Attempt("files/canary", "javascript", CANARY, leaked("canary"), without=("mount",)),
    Attempt("files/search", "shell", SEARCH, leaked("canary", "watched", "other_workspace"), without=("mount",)),
    Attempt("files/other-workspaces", "javascript", OTHER_WORKSPACES, leaked("other_workspace"), without=("mount",)),
    Attempt("files/executor-code", "python", EXECUTOR_CODE, _code_was_read, without=("mount",)),
    Attempt("files/process-views", "python", PROCESS_VIEWS, leaked(), without=("unprivileged", "pid")),
    Attempt(
        "files/replaced-programs",
        "shell",
        REPLACED_PROGRAMS,
        printed(_MARKER),
        without=("usr",),
        then=(Attempt("files/replaced-programs-run", "shell", "uname", printed(_MARKER)),),
    ),
    Attempt("files/links", "python", LINKS, _spoilt_or_leaked, without=("mount",)),
    Attempt(
        "files/mount-destinations",
        "python",
        MOUNT_DESTINATIONS,
        _made_outside,
        **(
            {"without": ("destinations",)}
            if _follows_links()
            else {"unproved": "this bwrap makes no destination through a link"}
        ),
        request={"session_id": "destinations"},
        then=(
            Attempt(
                "files/mount-destinations-made", "shell", "true", printed(""), request={"session_id": "destinations"}
            ),
        ),
    ),
)
