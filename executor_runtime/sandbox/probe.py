"""Finds at start what the node and the pod allow, by doing it.

Each level is started for real, with the argv and the filter that runs use, and what is promised is looked at from
inside. A pod that lacks something gets one line that says which setting to change
(``docs/decisions/0002-sandbox.md`` has the table).
"""

import asyncio
import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contracts.executor_api import IsolationLevel, Language
from contracts.pool import IsolationMode
from executor_runtime.sandbox.argv import ALTERNATIVES, USR, build_argv
from executor_runtime.sandbox.cgroup import prepare
from executor_runtime.sandbox.descriptors import Descriptors
from executor_runtime.sandbox.drain import Drain
from executor_runtime.sandbox.errors import BwrapMissing, CgroupUnavailable, IsolationUnavailable, SetuidBwrap
from executor_runtime.sandbox.model import MIB, Isolation, build_start
from executor_runtime.sandbox.process import Process
from executor_runtime.sandbox.sources import BindSource

if TYPE_CHECKING:
    from executor_runtime.sandbox.forking import ForkServer

_INIT_SOURCE: Final = Path(__file__).with_name("init.py")
_CHECK_SOURCE: Final = Path(__file__).with_name("check.py")
_PYTHONS: Final = ("/usr/local/bin/python3", "/usr/bin/python3")
_INTERPRETERS: Final[Mapping[Language, Sequence[str]]] = {
    "javascript": ["/usr/local/bin/node", "/usr/bin/node"],
    "shell": ["/usr/bin/bash"],
}
_MERGED: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_NAMESPACES: Final = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
_TIMEOUT_S: Final = 60.0
_OUTPUT_BYTES: Final = 4 * MIB
_SHOWN_WRONG: Final = 6
_SHOWN_CHARS: Final = 100

_DISOBEDIENT: Final = (
    "this bwrap, or this kernel, does not do what it is told: use an unchanged bubblewrap, 0.8 or newer"
)
_PROFILES: Final = (
    "use a Localhost seccomp profile that allows clone, unshare, mount, umount2, pivot_root and sethostname, and on "
    "the node allow unprivileged user namespaces (with AppArmor: a profile with userns, mount, umount, pivot_root)"
)
_ADVICE: Final = (
    ("Unknown option", "this bubblewrap is too old: install 0.8 or newer"),
    ("SECCOMP", "use a kernel with CONFIG_SECCOMP_FILTER, and a seccomp profile for the pod that allows prctl"),
    ("namespaces was not disabled", _DISOBEDIENT),
    ("execvp", "use an image whose Python in /usr starts by itself"),
    ("temporary directory", "mount a volume on /tmp that this uid may write (an emptyDir)"),
    ("cannot be tried", "install the distribution's bubblewrap, 0.8 or newer"),
    (
        "mount proc",
        "set hostUsers: false on the pod and procMount: Unmasked on the container (in Docker systempaths=unconfined)",
    ),
    ("max_user_namespaces", "set hostUsers: false on the pod and procMount: Unmasked on the container"),
    ("uid map", "run the executor as uid 1000 (runAsUser: 1000), not as root"),
    ("namespace", _PROFILES),
    ("Operation not permitted", _PROFILES),
    ("Function not implemented", _PROFILES),
    ("ended with", "neither bwrap nor Python in it says why: use an image in which both start by themselves"),
)


@dataclass(frozen=True)
class _Found:
    """What a probe of one level gave: what starts need, or why not."""

    init_code: bytes = b""
    python_path: tuple[str, ...] = ()
    interpreters: Mapping[Language, str] = field(default_factory=dict)
    failure: str = ""


async def probe(mode: IsolationMode) -> Isolation:
    """The strongest isolation that works here; ``strict`` takes nothing below ``full``.

    Raises:
        BwrapMissing, SetuidBwrap, IsolationUnavailable: one line on what failed and what to change.
    """
    found = await probe_levels(("full", "reduced") if mode == "best-effort" else ("full",))
    return await asyncio.to_thread(add_cgroups, found)


async def probe_levels(levels: Sequence[IsolationLevel]) -> Isolation:
    """The first of these levels that works here; raises as ``probe`` does."""
    base = Isolation("full", find_bwrap(), {}, b"", (), load_filter(), find_links(), has_alternatives())
    failures: dict[IsolationLevel, str] = {}
    for level in levels:
        for python in filter(os.path.exists, _PYTHONS):
            found = await _try_level(replace(base, level=level), python)
            if not found.failure:
                return replace(
                    base,
                    level=level,
                    interpreters={"python": python, **found.interpreters},
                    init_code=found.init_code,
                    python_path=found.python_path,
                    shortfall=failures.get("full", ""),
                    sources=find_sources(),
                )
            failures.setdefault(level, found.failure)
    if not failures:
        raise IsolationUnavailable(f"none of {', '.join(_PYTHONS)} exists: use an image with a system Python")
    lines = (f"isolation {level!r} does not work here: {failure}" for level, failure in failures.items())
    raise IsolationUnavailable("; ".join(lines))


def load_filter() -> bytes:
    """The seccomp filter, without which no level is offered."""
    try:
        # pyseccomp looks for libseccomp when it is imported, and cannot be without it.
        from executor_runtime.sandbox.seccomp import build_filter

        return build_filter()
    except (ImportError, OSError, RuntimeError) as error:
        raise IsolationUnavailable(f"no seccomp filter can be made ({error}): install libseccomp2") from error


def find_bwrap() -> str:
    """Absolute path of a bwrap that is not setuid."""
    path = shutil.which("bwrap")
    if path is None:
        raise BwrapMissing("bwrap is not on PATH: install bubblewrap in the executor's image")
    if os.stat(path).st_mode & (stat.S_ISUID | stat.S_ISGID):
        raise SetuidBwrap(f"{path} is setuid, which is not safe here (CVE-2026-41163): chmod u-s,g-s {path}")
    return os.path.realpath(path)


def find_links() -> tuple[tuple[str, str], ...]:
    """The links of a merged-/usr system; a directory of its own there would not be visible inside."""
    return tuple((path, os.readlink(path)) for path in _MERGED if os.path.islink(path))


def has_alternatives() -> bool:
    """Whether there is a directory of alternatives; a link in its place would lead a bind elsewhere."""
    return os.path.isdir(ALTERNATIVES) and os.path.realpath(ALTERNATIVES) == ALTERNATIVES


def find_sources() -> tuple[BindSource, ...]:
    """What every sandbox is given of the executor's own file system. Raises BindSourceChanged."""
    return tuple(BindSource.of(path) for path in (USR, ALTERNATIVES) if path == USR or has_alternatives())


def add_cgroups(isolation: Isolation) -> Isolation:
    """With cgroups for runs where they can be made; else with the reason why runs are watched instead."""
    try:
        return replace(isolation, cgroups=prepare())
    except CgroupUnavailable as error:
        return replace(isolation, cgroups_shortfall=str(error))


async def _try_level(isolation: Isolation, python: str) -> _Found:
    try:
        with tempfile.TemporaryDirectory(prefix="probe-") as workspace, Descriptors() as descriptors:
            code, out, err, info = await _run_check(isolation, python, workspace, descriptors)
    except OSError as error:
        return _Found(failure=explain(f"{isolation.bwrap} cannot be tried: {error}"))
    if code != 0:
        return _Found(failure=explain(err.strip().rpartition("\n")[2] or f"bwrap ended with {code}"))
    shared = find_shared(info)
    return _judge(out, [f"the {name} namespace is not its own" for name in shared])


def _judge(out: str, wrong: list[str]) -> _Found:
    """What the check inside has found, and what else is known to be wrong."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):  # whatever answered
        findings = json.loads(out)
        init_code = bytes.fromhex(findings.pop("init_code"))
        wrong = wrong + [f"{name} is {str(value)[:_SHOWN_CHARS]}" for name, value in findings["wrong"].items()]
        wrong += find_shared_by_links(findings["namespaces"])
        if wrong:
            return _Found(failure=f"inside, {', '.join(wrong[:_SHOWN_WRONG])}: {_DISOBEDIENT}")
        return _Found(init_code, tuple(findings["python_path"]), findings["interpreters"])
    return _Found(failure=f"the check inside the sandbox gave no answer: {_DISOBEDIENT}")


async def check_forked(isolation: Isolation, server: "ForkServer") -> str:
    """Why a sandbox whose process 1 is forked is not as strong as one that bwrap starts, in one line; nothing: it is.

    It is made as those of runs are, and looked at by the same check.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="probe-") as workspace, Descriptors() as descriptors:
            code, out, err = await _run_forked_check(isolation, server, workspace, descriptors)
    except OSError as error:
        return f"it cannot be tried: {error}"
    if code != 0:
        return err or f"process 1 ended with {code}"
    return _judge(out, []).failure


def find_shared_by_links(links: Mapping[str, str]) -> list[str]:
    """The same by what the check saw in its own ``/proc``, where there is one."""
    ours = {name: os.readlink(f"/proc/self/ns/{name}") for name in links}
    return [f"the {name} namespace is not its own" for name, link in links.items() if link == ours[name]]


def find_shared(info: str) -> list[str]:
    """Namespaces of this process that the sandbox is in too, by what bwrap says of it (``--info-fd``)."""
    try:
        told = json.loads(info)
    except (ValueError, RecursionError):
        told = None
    told = told if isinstance(told, dict) else {}
    ours = {name: Path("/proc/self/ns", name) for name in _NAMESPACES}
    return [
        name
        for name, path in ours.items()
        if path.exists() and told.get(f"{name}-namespace") in (None, path.stat().st_ino)
    ]


def explain(message: str) -> str:
    """bwrap's own line, and what to change in the pod."""
    advice = next((text for pattern, text in _ADVICE if pattern in message), "")
    if "namespace" in message and _is_chroot():
        advice = "this is a chroot, where the kernel refuses user namespaces; use a container, which pivots its root"
    return f"{message}: {advice}" if advice else message


def _is_chroot() -> bool:
    """Whether the root directory is not a mount of its own (proc(5), field 5 of mountinfo)."""
    with open("/proc/self/mountinfo") as file:
        return not any(line.split()[4] == "/" for line in file)


async def _run_check(
    isolation: Isolation, python: str, workspace: str, descriptors: Descriptors
) -> tuple[int, str, str, str]:
    """(exit code, stdout, stderr, what bwrap says of the sandbox) of ``check.py`` run in place of process 1."""
    out, err, info = descriptors.pipe(), descriptors.pipe(), descriptors.pipe()
    source = _check_source(isolation)
    seccomp_fd, job_fd = descriptors.memory("seccomp", isolation.seccomp_filter), descriptors.memory("check", source)
    tried = replace(isolation, interpreters={"python": python})
    start = build_start(tried, Path(workspace), MIB, info[1], job_fd, seccomp_fd)
    argv = [*build_argv(start)[:-1], f"exec(open({start.job_fd}).read())"]
    if "--disable-userns" in argv:  # from inside it cannot be seen whether that holds, for the filter answers first
        argv.insert(1, "--assert-userns-disabled")
    inherited = (start.job_fd, start.seccomp_fd, info[1])
    process = Process(argv, (descriptors.memory("stdin", b""), out[1], err[1]), inherited)
    descriptors.close(out[1], err[1], *inherited)
    drains = [Drain(pipe[0], _OUTPUT_BYTES) for pipe in (out, err, info)]
    drains[2].on_data = lambda: process.learn_init(bytes(drains[2].kept))
    try:
        await asyncio.wait({process.exited}, timeout=_TIMEOUT_S)
    finally:
        if not process.exited.done():
            await asyncio.shield(process.kill())
        for drain in drains:
            drain.finish()
        process.close()
    ended = process.exited.result().code if process.exited.done() else -1
    said, complaints, told = (drain.kept.decode(errors="replace") for drain in drains)
    return ended, said, complaints, told


def _check_source(isolation: Isolation) -> bytes:
    call = f"main({isolation.level!r}, {_INIT_SOURCE.read_text()!r}, {_INTERPRETERS!r})"
    return f"{_CHECK_SOURCE.read_text()}\n{call}\n".encode()


async def _run_forked_check(
    isolation: Isolation, server: "ForkServer", workspace: str, descriptors: Descriptors
) -> tuple[int, str, str]:
    """(exit code, stdout, the last line of stderr) of ``check.py`` run in place of a process 1 that is forked."""
    from executor_runtime.sandbox.forking import INFO_FD, ForkedProcess, Request

    out, err = descriptors.pipe(), descriptors.pipe()
    start = build_start(isolation, Path(workspace), MIB, INFO_FD)
    unused = [descriptors.memory("unused", b"") for _ in range(4)]
    stdin, check = descriptors.memory("stdin", b""), descriptors.memory("check", _check_source(isolation))
    process = ForkedProcess(server, Request(start, is_check=True), (stdin, out[1], err[1], *unused, check))
    descriptors.close(out[1], err[1])
    drains = [Drain(pipe[0], _OUTPUT_BYTES) for pipe in (out, err)]
    try:
        await asyncio.wait({process.exited}, timeout=_TIMEOUT_S)
    finally:
        await asyncio.shield(process.end())
        for drain in drains:
            drain.finish()
        process.close()
    said, complaints = (drain.kept.decode(errors="replace") for drain in drains)
    return process.exited.result().code, said, complaints.strip().rpartition("\n")[2] or process.failure
