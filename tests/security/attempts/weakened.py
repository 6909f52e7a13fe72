"""The executor with protections taken away: ``python -m tests.security.attempts.weakened PROTECTION[,PROTECTION…]``.

An attempt that fails proves something only if it can succeed. The product has no switch for that: here its parts are
replaced in this one process before it starts. What ``probe`` looks at stays whole, so that the executor starts.
Run it only in a stage (``stage``): there a successful attack hits what the test made, and nothing else.
"""

import asyncio
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from executor_runtime import privileges
from executor_runtime import process as executor
from executor_runtime.middleware import RequestContext
from executor_runtime.sandbox import descriptors, environment, header
from executor_runtime.sandbox.argv import SHM, TMP, Start
from executor_runtime.sandbox.forks import Forks
from executor_runtime.sandbox.watchdog import Watchdog
from tests.security.attempts import weakened_service
from tests.security.attempts.replacing import (
    change_argv,
    change_init,
    change_popen,
    drop_option,
    expand_namespaces,
    last_remount,
    probe,
    replace,
)

_PR_SET_PTRACER: Final = 0x59616D61
_LAUNCHER: Final = Path(__file__).with_name("no_sandbox.py")


def _net() -> None:
    drop_option("--unshare-net")


def _pid() -> None:
    """The pid namespace, and with it the /proc of its own: one cannot be mounted for the namespace of another owner."""
    drop_option("--unshare-pid")
    drop_option("--as-pid-1")
    _proc()
    change_init("os.kill(-1, signal.SIGKILL)", "return")  # or it would end everything


def _ipc() -> None:
    drop_option("--unshare-ipc")


def _uts() -> None:
    drop_option("--unshare-uts")
    drop_option("--hostname", 1)


def _proc() -> None:
    """The executor's /proc in place of one of its own."""

    def change(argv: list[str], _start: Start) -> list[str]:
        at = argv.index("--proc") if "--proc" in argv else -1
        if at >= 0:
            argv = argv[:at] + argv[at + 2 :]
        at = last_remount(argv)
        return [*argv[:at], "--bind", "/proc", "/proc", *argv[at:]]

    change_argv(change)


def _mount() -> None:
    """The host's directories, each at its own path, with the test's own directory among them."""

    def change(argv: list[str], start: Start) -> list[str]:
        taken = {argv[at + 2] for at, name in enumerate(argv) if name in ("--ro-bind", "--bind", "--symlink")}
        taken |= {"/dev", "/proc", "/tmp"}
        at = last_remount(argv)
        binds: list[str] = []
        for directory in sorted(Path("/").iterdir()):
            if str(directory) not in taken and directory.is_dir() and not directory.is_symlink():
                binds += ["--bind", str(directory), str(directory)]
        place = str(Path(start.workspace).parents[2])
        for path in ("/dev/shm", "/tmp", place):
            binds += ["--bind", path, path]
        return [*argv[:at], *binds, *argv[at:]]

    change_argv(change)


def _seccomp() -> None:
    drop_option("--seccomp", 1)


def _capabilities() -> None:
    def change(argv: list[str], _start: Start) -> list[str]:
        at = argv.index("--cap-drop")
        return [*argv[:at], "--cap-add", *argv[at + 1 :]]

    change_argv(change)


def _usr() -> None:
    """One directory of /usr, on everybody's PATH, that can be written and is everybody's."""
    shared = tempfile.mkdtemp(prefix="usr-local-sbin-")

    def change(argv: list[str], _start: Start) -> list[str]:
        at = argv.index("/usr") + 2
        return [*argv[:at], "--bind", shared, "/usr/local/sbin", *argv[at:]]

    change_argv(change)


def _destinations() -> None:
    """A mount destination below what user code may write."""

    def change(argv: list[str], _start: Start) -> list[str]:
        at = argv.index("--chdir")
        return [*argv[:at], "--dir", "/workspace/.cache/made-by-a-mount", *argv[at:]]

    change_argv(change)


def _unprivileged() -> None:
    """Root stays root, and bwrap gives it no user namespace: the stage is then the machine's root's, too."""

    def stay(directories: Sequence[Path], *_: int) -> None:
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True)

    def change(argv: list[str], _start: Start) -> list[str]:
        argv = expand_namespaces(argv)
        for name, values in (("--unshare-user", 0), ("--disable-userns", 0), ("--uid", 1), ("--gid", 1)):
            at = argv.index(name)
            argv = argv[:at] + argv[at + 1 + values :]
        return argv

    replace(privileges, "drop_or_refuse", stay)
    change_argv(change)
    _capabilities()
    # The probe cannot start what it is to look at: a /proc is for whole namespaces only.
    for_probe = probe.build_argv
    replace(probe, "build_argv", lambda start: change(for_probe(start), start))
    by_links = probe.find_shared_by_links
    replace(probe, "find_shared_by_links", lambda links: [what for what in by_links(links) if "the user" not in what])
    checks = probe._CHECK_SOURCE.read_text().replace("if got != wanted", "if False")
    replace(probe, "_CHECK_SOURCE", SimpleNamespace(read_text=lambda: checks))


def _userns_lock() -> None:
    drop_option("--disable-userns")


def _second_userns() -> None:
    """The namespace in which user code runs is not the one that owns its mounts: bwrap's ``--dev`` makes two."""
    devices = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")]
    binds = [option for path in devices for option in ("--dev-bind", path, path)]

    def change(argv: list[str], _start: Start) -> list[str]:
        at = argv.index("--dev")
        return [*argv[:at], "--tmpfs", "/dev", *binds, *argv[at + 2 :]]

    change_argv(change)


def _new_session() -> None:
    drop_option("--new-session")
    change_popen(start_new_session=False)


def _limits() -> None:
    replace(header, "build_rlimits", lambda _limits, _others: [])


def _memory_watchdog() -> None:
    async def never(watchdog: Watchdog) -> None:
        while True:
            await asyncio.sleep(60)
            watchdog.sample()

    replace(Watchdog, "wait_until_over", never)


def _descriptors() -> None:
    change_init("os.closerange(RETURN_FD + 1, MAX_DESCRIPTORS)", "pass")


def _close_on_exec() -> None:
    """What the executor has open is inherited: here the test's own directory, and a file in it."""
    place = Path(os.environ["WORKSPACE_PATH"]).parents[1]
    before = subprocess.Popen

    class Inherited(before):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, pass_fds: Sequence[int] = (), **options: Any) -> None:
            kept = [os.open(path, os.O_RDONLY) for path in (place, place / "canary")]
            super().__init__(*arguments, pass_fds=(*pass_fds, *kept), **options)
            for descriptor in kept:
                os.close(descriptor)

    replace(subprocess, "Popen", Inherited)


def _seals() -> None:
    """Of the memory that standard input is."""
    replace(descriptors, "_SEALS", 0)


def _process_1() -> None:
    """Process 1 as any other process of the same uid."""
    allow = f"_ctypes.call_function(_ctypes.dlsym(_ctypes.dlopen(None, 0), 'prctl'), ({_PR_SET_PTRACER}, -1, 0, 0, 0))"
    change_init("    set_dumpable(False)\n", f"    {allow}\n")


def _environment() -> None:
    """The executor's own environment for everybody."""

    change_popen(env=dict(os.environ))
    drop_option("--clearenv")
    change_init("os.environ.clear()", "pass")


def _non_dumpable() -> None:
    """Of the executor. Where Yama restricts tracing, that is lifted too."""

    def allow() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)

    replace(privileges, "set_non_dumpable", allow)


def _execute_token() -> None:
    """Whoever reaches the executor's port may use it."""
    replace(RequestContext, "_authenticate", lambda _context, _scope: None)


def _bwrap() -> None:
    """The whole sandbox: an unprivileged process without a user namespace of its own can have no other one either."""

    def change(argv: list[str], start: Start) -> list[str]:
        command = argv[argv.index("--") + 1 :]
        return [sys.executable, "-I", str(_LAUNCHER), str(start.info_fd), start.workspace, *command]

    change_argv(change)
    change_init('found = os.stat("/workspace")', 'found = os.stat(".")')
    change_init("os.kill(-1, signal.SIGKILL)", "return")


def _tmp_size() -> None:
    drop_option("--size", 1)
    drop_option("--size", 1)


def _new_tmp() -> None:
    """One /tmp and one /dev/shm for all runs."""

    def change(argv: list[str], start: Start) -> list[str]:
        for path in (TMP, SHM):
            shared = Path(start.workspace).parents[2] / f"shared{path.replace('/', '-')}"
            shared.mkdir(exist_ok=True)
            at = argv.index(path)  # ``--size N [--perms M] --tmpfs PATH``
            begin = len(argv[:at]) - 1 - argv[:at][::-1].index("--size")
            argv = [*argv[:begin], "--bind", str(shared), *argv[at:]]
        return argv

    change_argv(change)
    replace(Watchdog, "_sample_files", lambda _watchdog: 0)  # what is there is not its own


def _session_path() -> None:
    """What an earlier run of the session left can be imported."""
    change_init('sys.path[:] = setup["python_path"]', 'sys.path[:] = ["/workspace", *setup["python_path"]]')


def _session_program() -> None:
    """Node looks for modules beside the program."""
    change_init('"javascript": "/tmp/handler.js"', '"javascript": "/workspace/.handler.js"')


def _home() -> None:
    replace(environment, "MINIMUM", {**environment.MINIMUM, "HOME": "/workspace"})


PROTECTIONS: Final[Mapping[str, Callable[[], None]]] = {
    "net": _net,
    "pid": _pid,
    "ipc": _ipc,
    "uts": _uts,
    "proc": _proc,
    "mount": _mount,
    "seccomp": _seccomp,
    "capabilities": _capabilities,
    "usr": _usr,
    "destinations": _destinations,
    "unprivileged": _unprivileged,
    "userns_lock": _userns_lock,
    "second_userns": _second_userns,
    "new_session": _new_session,
    "limits": _limits,
    "memory_watchdog": _memory_watchdog,
    "descriptors": _descriptors,
    "close_on_exec": _close_on_exec,
    "seals": _seals,
    "process_1": _process_1,
    "environment": _environment,
    "non_dumpable": _non_dumpable,
    "execute_token": _execute_token,
    "bwrap": _bwrap,
    "tmp_size": _tmp_size,
    "new_tmp": _new_tmp,
    "session_path": _session_path,
    "session_program": _session_program,
    "home": _home,
    **weakened_service.PROTECTIONS,
}
"""Name → what takes it away. They can be combined."""


async def _without_fork_server(_forks: Forks) -> bool:
    """bwrap starts every process 1: it is its options that are taken away."""
    return False


def main() -> None:
    """Weakens, then is the executor."""
    for name in sorted(sys.argv[1].split(","), key=lambda name: name == "bwrap"):  # whose options the others change
        PROTECTIONS[name]()
    replace(Forks, "start", _without_fork_server)
    sys.exit(executor.run())


if __name__ == "__main__":
    main()
