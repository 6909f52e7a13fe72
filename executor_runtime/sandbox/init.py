"""Process 1 of a sandbox. It runs inside, alone: nothing of this package can be imported there.

``probe`` has the sandbox's own interpreter compile this file; each start reads the compiled form
and then, when it comes, the one job from one descriptor. It starts the user's process, takes everything away from it
that is not the user's, waits, kills what is left, measures, and reports on a descriptor that the user's
process does not have. It imports as little as it can, ``_ctypes`` and ``_signal`` for ``ctypes`` and ``signal``:
every module is in the way of every run, and with ``typing`` and ``json`` they would take longer than all the rest.

User code has the same uid and reads this source. All that it can gain here is to lie about its own run.
"""

from __future__ import annotations

import _ctypes
import _signal as signal  # type: ignore[import-not-found]
import marshal
import os
import resource
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import IO, Any, NoReturn

OUR_FILE = "<sandbox>"
USER_FILE = "/tmp/handler.py"
RETURN_FD = 3
PR_SET_DUMPABLE = 4
MAX_DESCRIPTORS = 1 << 20
MAX_DEPTH = 190


def main(job_file: IO[bytes]) -> NoReturn:
    """Starts what will be the user's process, waits for its end, reports ``exited CODE SIGNAL USAGE`` and ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # with Python's handler in place, user code could stop process 1
    set_dumpable(False)
    setup: dict[str, Any] = marshal.load(job_file)  # noqa: S302 - from the executor, before any user code runs
    check_workspace(setup["workspace"])
    own = usage_of(resource.RUSAGE_SELF)
    if setup["program"] is not None:
        user = start_ahead(setup, job_file, own)
    else:
        user = os.fork()  # before there is a job: it would be in the way of it
        if user == 0:
            become_user(setup, job_file, own)
    code = wait_for(user)
    end_all_others()
    report(setup["status_fd"], f"exited {max(code, 0)} {max(-code, 0)} {usage_of(resource.RUSAGE_CHILDREN)}")
    os._exit(0)


def write_file(path: str, text: str) -> None:
    """In this sandbox's own ``/tmp``, which is empty."""
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(text)


def usage_of(whom: int) -> str:
    """``CPU_US PEAK_KIB READ_BYTES WRITTEN_BYTES`` as getrusage(2) counts them, blocks being 512 bytes."""
    used = resource.getrusage(whom)
    cpu_us = int((used.ru_utime + used.ru_stime) * 1e6)
    return f"{cpu_us} {used.ru_maxrss} {used.ru_inblock * 512} {used.ru_oublock * 512}"


PRCTL = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]


def set_dumpable(on: bool) -> None:
    """prctl(2): whether processes of the same uid may open this one's ``/proc`` entries."""
    _ctypes.call_function(PRCTL, (PR_SET_DUMPABLE, int(on), 0, 0, 0))


def report(descriptor: int, line: str) -> None:
    """One line to the executor; it fits a pipe's atomic write."""
    os.write(descriptor, line.encode() + b"\n")


def check_workspace(identity: tuple[int, int]) -> None:
    """A bind keeps device and inode: what is mounted is what the executor opened, or nothing runs."""
    found = os.stat("/workspace")
    if (found.st_dev, found.st_ino) != identity:
        raise SystemExit("sandbox: /workspace is not the directory that the executor made")


def wait_at_gate(gate_fd: int) -> None:
    """Until there is a job, and the executor has put this process into the run's cgroup where it makes some."""
    if not os.read(gate_fd, 1):
        raise SystemExit("sandbox: the executor did not let it begin")
    os.close(gate_fd)


def wait_for(user: int) -> int:
    """The user's process's exit code, or minus its signal. Orphans are reaped meanwhile."""
    while True:
        pid, status = os.wait()
        if pid == user:
            return os.waitstatus_to_exitcode(status)


def end_all_others() -> None:
    """Kills and reaps what the user's process left running, so that its usage is counted."""
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            os.wait()
    except (ChildProcessError, ProcessLookupError):
        return


def become_user(setup: dict[str, Any], job_file: IO[bytes], own: str) -> NoReturn:
    """The rest of the user's process: it never returns into ``main``."""
    status = 1
    try:
        job = prepare(setup, job_file, own)
        status = RUN[job["language"]](job)
    except BaseException as error:
        sys.stderr.write(f"sandbox: {type(error).__name__}: {error}\n")
    finally:
        os._exit(status)


def prepare(setup: dict[str, Any], job_file: IO[bytes], own: str) -> dict[str, Any]:
    """The job, with everything done that comes before user code; a failure here is the sandbox's, not the user's."""
    try:
        job = wait_for_job(setup, job_file)
        PREPARE[job["language"]](job)
        # Where nobody waits, so that it wakes nobody.
        report(setup["began_fd"], f"started {usage_of(resource.RUSAGE_SELF)} {own} {time.monotonic_ns()}")
        set_dumpable(True)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        bound(job["env"], job["limits"])
    except BaseException as error:
        report_failure(setup, error)
        raise
    os.dup2(setup["return_fd"], RETURN_FD, inheritable=False)
    os.closerange(RETURN_FD + 1, MAX_DESCRIPTORS)
    return job


def wait_for_job(setup: dict[str, Any], job_file: IO[bytes]) -> dict[str, Any]:
    """Reports ``waiting``; the job, once the executor has written it and opened the gate."""
    if not setup["is_forked"]:
        become_like_python(setup)
    if setup["is_ahead"]:
        rehearse(USER_FILE)
    report(setup["status_fd"], "waiting")
    wait_at_gate(setup["gate_fd"])
    job: dict[str, Any] = setup | marshal.load(job_file)  # noqa: S302 - as above
    job_file.close()
    return job


def rehearse(user_file: str) -> None:
    """Does once what a small job does, while there is time: the first time takes longer than all later ones."""
    code = "def handler(event):\n    return event\n"
    job = {"code": code, "event": {"event": [1, 1.5, "text", None, True]}, "return_limit": 1000}
    write_file(user_file, code)
    call_handler(job)
    del sys.modules["__main__"]
    limit = resource.RLIMIT_NOFILE
    bound(dict(os.environ), [(limit, *resource.getrlimit(limit))])
    if user_file != os.devnull:
        os.unlink(user_file)


def report_failure(setup: dict[str, Any], error: BaseException) -> None:
    """Nothing of the user's has run then."""
    report(setup["began_fd"], f"failed {type(error).__name__}: {error}".replace("\n", " ")[:1000])


def bound(env: dict[str, str], limits: list[tuple[int, int, int]]) -> None:
    """User code's environment and limits, for this process and all that it starts."""
    os.environ.clear()
    os.environ.update(env)
    for kind, soft, hard in limits:
        set_limit(kind, soft, hard)


def set_limit(kind: int, soft: int, hard: int) -> None:
    """setrlimit(2), never above what the pod itself has: raising that would need a capability."""
    ceiling = resource.getrlimit(kind)[1]
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(kind, (soft, hard))


# --- Python -----------------------------------------------------------------------------------------------------------


def become_like_python(setup: dict[str, Any]) -> None:
    """What ``python3 -I`` does before a script, less the time it takes: ``site`` was run once, by ``probe``."""
    import _sitebuiltins
    import atexit  # noqa: F401 - so that it need not be imported at the end
    import builtins

    sys.path[:] = setup["python_path"]
    ends_input = "Ctrl-D (i.e. EOF)"
    builtins.__dict__.update(
        exit=_sitebuiltins.Quitter("exit", ends_input),
        quit=_sitebuiltins.Quitter("quit", ends_input),
        help=_sitebuiltins._Helper(),
    )
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a killed run keeps what it printed


def prepare_python(job: dict[str, Any]) -> None:
    """The code as a file, for those who read ``__file__`` or run it again, as ``multiprocessing`` does in each process
    that it spawns: without it they would fail one after the other, for ever."""
    write_file(USER_FILE, job["code"])


def run_python(job: dict[str, Any]) -> int:
    """Runs the code as ``__main__``, calls ``handler(event)``, sends what it returned; the exit code."""
    main_pid = os.getpid()
    sys.argv = [USER_FILE]
    try:
        outcome, body, status = call_handler(job)
    except SystemExit as error:
        outcome, body, status = b"exited", b"", exit_status(error)
    except BaseException as error:
        print_traceback(error)
        outcome, body, status = b"raised", type(error).__name__.encode("utf-8", "replace"), 1
    if os.getpid() == main_pid:  # a child that the handler forked and let return reports nothing
        send(outcome + b"\n" + body)
    finish_like_python()
    return status


def call_handler(job: dict[str, Any]) -> tuple[bytes, bytes, int]:
    """(outcome, body, exit code)."""
    namespace = load(job["code"])
    handler = namespace.get("handler")
    if not callable(handler):
        what = "is not a function" if "handler" in namespace else "is not defined"
        complain(f"handler {what}: define `def handler(event): ...`; what it returns is the result")
        return b"handler_missing", what.encode(), 1
    value = handler(job["event"])
    if is_coroutine(value):
        import asyncio

        value = asyncio.run(value)
    try:
        return b"returned", encode(value, job["return_limit"]), 0
    except (TypeError, ValueError, RecursionError) as error:
        complain(
            f"the return value of handler cannot be written as JSON: {error}. "
            "Return only dict with string keys, list, str, int, finite float, bool or None"
        )
        return b"not_serializable", str(error).encode("utf-8", "replace")[:1000], 1


def is_coroutine(value: object) -> bool:
    """Whether an ``async def`` made it (``inspect.iscoroutine`` without its imports)."""
    return type(value).__name__ == "coroutine" and hasattr(value, "cr_code")


class Source:
    """A module loader as far as linecache asks for one, so that every traceback shows the user's lines."""

    def __init__(self, code: str) -> None:
        self._code = code

    def get_source(self, _name: str) -> str:
        """The whole source (PEP 302)."""
        return self._code


def load(code: str) -> dict[str, Any]:
    """Runs the code in a new ``__main__``."""
    module = type(sys)("__main__")
    module.__dict__.update(__builtins__=__builtins__, __file__=USER_FILE, __loader__=Source(code))
    sys.modules["__main__"] = module
    exec(compile(code, USER_FILE, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - what we are for
    return module.__dict__


def encode(value: object, limit: int) -> bytes:
    """Strict JSON in UTF-8, at most ``limit`` bytes and ``MAX_DEPTH`` levels; importing ``json`` would take 8 ms."""
    import _json

    encoder = _json.make_encoder({}, refuse, _json.encode_basestring, None, ": ", ", ", False, False, False)
    text = "".join(encoder(value, 0)).encode()
    if len(text) > limit:
        raise ValueError(f"it is {len(text)} bytes long, and at most {limit} are allowed: write it to a file instead")
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and too_deep(value):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    return text


def refuse(value: object) -> NoReturn:
    """The encoder asks here what to do with a type that JSON does not have."""
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def too_deep(value: Any) -> bool:
    """Whether lists and dicts nest deeper than ``MAX_DEPTH``; the value has no cycles."""
    level = [value]
    for _ in range(MAX_DEPTH):
        parts = [part for whole in level for part in (whole.values() if isinstance(whole, dict) else whole)]
        level = [part for part in parts if isinstance(part, dict | list | tuple)]
        if not level:
            return False
    return True


def write_all(descriptor: int, content: bytes) -> None:
    """To a pipe, however much of it that holds."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def send(body: bytes) -> None:
    """Writes all of it to the return channel; a handler that closed the channel has no return value."""
    try:
        write_all(RETURN_FD, body)
    except OSError as error:
        complain(
            f"the return value is lost: descriptor {RETURN_FD} carries it, and the code closed it ({error.strerror})"
        )


def exit_status(error: SystemExit) -> int:
    """What the interpreter makes of ``sys.exit(...)``."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    complain(str(error.code))
    return 1


def print_traceback(error: BaseException) -> None:
    """The traceback from the user's first frame on."""
    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == OUR_FILE:
        frames = frames.tb_next
    error.__traceback__ = frames
    try:
        import traceback

        traceback.print_exception(error)
    except BaseException:  # a __str__ that raises, no memory left, a closed stderr: the type alone says something
        complain(type(error).__name__)


def complain(message: str) -> None:
    """A line for the user on stderr, also when the code has replaced or closed ``sys.stderr``."""
    try:
        print(message, file=sys.stderr, flush=True)
    except Exception:
        os.write(2, message.encode("utf-8", "replace") + b"\n")


def finish_like_python() -> None:
    """What the interpreter does at its end, without the time that tearing it down takes."""
    import atexit

    steps: list[Callable[[], object]] = [atexit._run_exitfuncs]
    threading = sys.modules.get("threading")
    if threading is not None:
        steps.insert(0, threading._shutdown)
    for step in steps:
        try:
            step()
        except BaseException as error:
            print_traceback(error)
    for stream in (sys.stdout, sys.__stdout__, sys.stderr, sys.__stderr__):
        flush(stream)


def flush(stream: Any) -> None:
    """As well as can be: it may be closed, gone, or whatever the code has put in its place."""
    try:
        stream.flush()
    except BaseException:
        return


# --- Programs ---------------------------------------------------------------------------------------------------------


def prepare_program(job: dict[str, Any]) -> None:
    """Code and event as files in this sandbox's own ``/tmp``: no other run sees them, and argv could not hold them."""
    write_file(PROGRAM_FILES[job["language"]], job["code"])
    write_file(EVENT_FILE, job["event"])
    job["env"]["EVENT_FILE"] = EVENT_FILE


def run_program(job: dict[str, Any]) -> NoReturn:
    """Becomes the interpreter; the return channel is closed on the way."""
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, other programs expect them
        signal.signal(number, signal.SIG_DFL)
    os.execv(job["interpreter"], [job["interpreter"], PROGRAM_FILES[job["language"]]])  # noqa: S606 - what we are for


def start_ahead(setup: dict[str, Any], job_file: IO[bytes], own: str) -> int:
    """Starts the interpreter with its code's file a pipe, at which it waits; the code, once there is a job. Its pid.

    It comes as far as it comes without code, just as it does when it is there already. Before it gets a byte, the pipe
    is replaced by a file, for whoever opens that name later.
    """
    path = PROGRAM_FILES[setup["program"]["language"]]
    os.mkfifo(path, 0o600)
    signal.signal(signal.SIGCHLD, end_with_program)
    user, used = fork_program(setup["program"])
    code_fd = os.open(path, os.O_WRONLY)  # when it has opened the other end
    report(setup["status_fd"], "waiting")
    wait_at_gate(setup["gate_fd"])
    try:
        job = marshal.load(job_file)  # noqa: S302 - as above
        if any(job[name] != value for name, value in setup["program"].items()):
            raise RuntimeError("the interpreter that waits was started for another job")
        write_file(EVENT_FILE, job["event"])
        write_file(NEXT_FILE, job["code"])
        os.rename(NEXT_FILE, path)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        write_all(code_fd, job["code"].encode("utf-8", "surrogatepass"))
        report(setup["began_fd"], f"started {used} {own} {time.monotonic_ns()}")
    except BaseException as error:
        report_failure(setup, error)
        raise
    os.close(code_fd)  # now it has all of it, and begins
    return user


def fork_program(program: dict[str, Any]) -> tuple[int, str]:
    """(pid, what the process had used when it became the interpreter)."""
    reads, writes = os.pipe()
    user = os.fork()
    if user == 0:
        try:
            bound(program["env"] | {"EVENT_FILE": EVENT_FILE}, program["limits"])
            os.dup2(writes, RETURN_FD, inheritable=False)
            os.closerange(RETURN_FD + 1, MAX_DESCRIPTORS)
            os.write(RETURN_FD, usage_of(resource.RUSAGE_SELF).encode())
            run_program(program)
        except BaseException as error:
            sys.stderr.write(f"sandbox: {type(error).__name__}: {error}\n")
        finally:
            os._exit(1)
    os.close(writes)
    used = os.read(reads, 200).decode()
    os.close(reads)
    return user, used


def end_with_program(*_: object) -> NoReturn:
    """While there is no code, it has no reason to end."""
    raise SystemExit("sandbox: the interpreter ended while it waited")


EVENT_FILE = "/tmp/event.json"
NEXT_FILE = "/tmp/next"
PROGRAM_FILES = {"javascript": "/tmp/handler.js", "shell": "/tmp/handler.sh"}
PREPARE: dict[str, Callable[[dict[str, Any]], None]] = {
    "python": prepare_python,
    "javascript": prepare_program,
    "shell": prepare_program,
}
RUN: dict[str, Callable[[dict[str, Any]], int]] = {
    "python": run_python,
    "javascript": run_program,
    "shell": run_program,
}
