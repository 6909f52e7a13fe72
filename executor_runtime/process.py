"""The executor as a process: the order of its start, its signals, and its end.

Start: settings → privileges → probe → listen → ``container_ready``. End: everything that runs or
waits is reported ``crashed``, then ``container_exited``, within two seconds whatever the Control
Plane does (the seed's T067-T077); what could not be sent is in the spool.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import structlog
import uvicorn

from contracts.control_plane_api import ExitReason
from contracts.outputs import OutputLimits
from executor_runtime import VERSION, privileges
from executor_runtime.api import Api, build_app
from executor_runtime.clock import SYSTEM_CLOCK
from executor_runtime.control_plane import ControlPlane
from executor_runtime.errors import StartError
from executor_runtime.lifecycle import ERROR_EXIT_CODE, SIGINT_EXIT_CODE, SIGTERM_EXIT_CODE, Identity, Lifecycle
from executor_runtime.logs import configure_logs
from executor_runtime.metrics import Metrics
from executor_runtime.protocol import BoundedProtocol
from executor_runtime.queue import Queue
from executor_runtime.records import Records
from executor_runtime.report import Reporter
from executor_runtime.retention import Retention
from executor_runtime.sandbox import Isolation, Sandbox, SandboxError, probe
from executor_runtime.secret import Redactor, Token
from executor_runtime.service import Outputs, Parts, Service, Upwards
from executor_runtime.settings import Settings, load_settings
from executor_runtime.spool import Spool
from executor_runtime.uploads import Uploader
from executor_runtime.workspace import Workspaces

_M_MMAP_THRESHOLD: Final = -3
_LARGE_BYTES: Final = 131_072
_EXIT_LIMIT_S: Final = 1.9
_SEND_BUFFER_BYTES: Final = 262_144
"""Of each connection; the kernel takes twice as much (socket(7))."""
_KILL_TIMEOUT_S: Final = 0.5
_REPORT_TIMEOUT_S: Final = 0.5
_EXITED_TIMEOUT_S: Final = 0.5
_CLOSE_TIMEOUT_S: Final = 0.2
_RESTART_PAUSE_S: Final = 5.0
_KEEP_ALIVE_S: Final = 75
"""Longer than clients keep idle connections, so that it is they who close and no request is lost to a race."""

log = structlog.get_logger()


def run() -> int:
    """The whole life of the process; its exit code."""
    try:
        _give_large_memory_back()
        settings = load_settings()
        spool = [settings.results_path] if settings.control_plane_url is not None else []
        privileges.drop_or_refuse([settings.workspace_path, *spool])
        privileges.set_non_dumpable()
        redactor = Redactor()
        tokens = _Tokens(
            _open_token(settings, "internal_api_token", redactor), _open_token(settings, "execute_api_token", redactor)
        )
        configure_logs("DEBUG" if settings.debug else settings.log_level, settings.container_id, redactor)
        with asyncio.Runner(loop_factory=_make_loop) as runner:
            return runner.run(_live(settings, tokens, redactor))
    except (StartError, SandboxError) as error:
        print(f"executor: {' '.join(str(error).split())}", file=sys.stderr)
        return ERROR_EXIT_CODE


def _make_loop() -> asyncio.AbstractEventLoop:
    """A loop on poll(2): epoll's watches are counted for each uid, which the sandboxes share with the executor.

    User code that took them all (``fs.epoll.max_user_watches``) left an executor that could start nothing more.
    """
    return asyncio.SelectorEventLoop(selectors.PollSelector())


def _give_large_memory_back() -> None:
    """Fixes glibc's threshold above which memory is mapped, and so unmapped when it is freed (mallopt(3)).

    Left alone it grows with the first long output, and the heap keeps the holes of all that follow: after forty
    outputs of 2 MB, of which 64 MiB are kept, 195 MiB were resident instead of 145.
    """
    with contextlib.suppress(AttributeError):  # musl has no mallopt
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def _spare_what_is_there() -> None:
    """What was imported and made till now lives as long as the process.

    Looked at again in a search for garbage, it held up an execution for 20 to 50 ms every few hundred.
    """
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class _Tokens:
    internal: Token
    execute: Token


@dataclass(frozen=True)
class _End:
    exit_code: int
    reason: ExitReason


_ENDS: Final = {
    signal.SIGTERM: _End(SIGTERM_EXIT_CODE, "sigterm"),
    # A person's Ctrl-C. There is no reason of its own for it; Kubernetes would show the code, too.
    signal.SIGINT: _End(SIGINT_EXIT_CODE, "error"),
}


def _open_token(settings: Settings, name: str, redactor: Redactor) -> Token:
    """A token, checked to be readable with the privileges that are left, so that it can be rotated."""
    file = settings.token_file(name)
    if file is not None and not os.access(file, os.R_OK):
        raise StartError(
            f"{name.upper()}_FILE names {file}, which uid {os.geteuid()} cannot read: change its owner or mode"
        )
    value = getattr(settings, name)
    return Token(value.get_secret_value() if value is not None else None, file, redactor)


async def _live(settings: Settings, tokens: _Tokens, redactor: Redactor) -> int:
    isolation = await probe(settings.isolation_mode)
    workspaces = Workspaces(settings.workspace_path)
    await asyncio.to_thread(_clear, workspaces)
    with _listening(settings.host, settings.executor_port) as listener:
        executor = _Executor(settings, tokens, redactor, isolation, workspaces, listener.getsockname()[1])
        try:
            return await executor.live(listener)
        except Exception:
            log.exception("executor_broke")
            await executor.announce_exited(_End(ERROR_EXIT_CODE, "error"))
            return ERROR_EXIT_CODE


def _clear(workspaces: Workspaces) -> None:
    """Another user's files, left by an executor that ran as somebody else, are no reason not to start."""
    try:
        workspaces.clear()
    except (OSError, SandboxError) as error:
        log.warning("workspaces_not_cleared", error=str(error))


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise StartError(
            f"EXECUTOR_PORT {port} on HOST {host} cannot be listened on ({os.strerror(error.errno or 0)}): "
            "stop what listens there, or choose another; for example EXECUTOR_PORT=8081"
        ) from error
    with listener:
        # Accepted sockets inherit it. asyncio does not see to it here, and an answer's body would wait 40 ms
        # for the client's delayed acknowledgement of its head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # What is in it when a connection breaks has to be sent again (``sandbox.output.RING_BYTES``); the kernel would
        # let it grow to 4 MiB.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        yield listener


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, and with a word when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are this module's."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens."""
        await super().startup(sockets)
        self.listening.set()


class _Executor:
    """Everything that lives between the probe and the end."""

    def __init__(
        self,
        settings: Settings,
        tokens: _Tokens,
        redactor: Redactor,
        isolation: Isolation,
        workspaces: Workspaces,
        port: int,
    ) -> None:
        self._isolation = isolation
        self._port = port
        self._metrics = Metrics()
        self._retention = Retention(
            workspaces, SYSTEM_CLOCK, settings.workspace_retention_seconds, settings.session_retention_seconds
        )
        self._upwards, self._lifecycle = self._build_upwards(settings, tokens.internal, redactor)
        self._sandbox = Sandbox(
            isolation, workspaces, settings.warm_sandboxes, settings.warm_javascript, self._metrics.count_start
        )
        self._metrics.watch_warm(lambda: self._sandbox.warm, lambda: self._sandbox.waiting_programs)
        self._metrics.name_isolation(isolation)
        self._service = Service(
            Parts(
                sandbox=self._sandbox,
                queue=Queue(settings.max_concurrent_executions),
                records=Records(SYSTEM_CLOCK),
                retention=self._retention,
                metrics=self._metrics,
                redactor=redactor,
                clock=SYSTEM_CLOCK,
                upwards=self._upwards,
                outputs=self._build_outputs(settings),
            )
        )
        enforcement = isolation.limits_enforcement
        app = build_app(Api(self._service, self._metrics, tokens.execute, isolation.level, enforcement, settings.debug))
        self._server = _Server(
            uvicorn.Config(
                app,
                http=BoundedProtocol,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
            )
        )

    def _build_upwards(
        self, settings: Settings, token: Token, redactor: Redactor
    ) -> tuple[Upwards | None, Lifecycle | None]:
        if settings.control_plane_url is None:
            return None, None
        control_plane = ControlPlane(settings.control_plane_url, token)
        reporter = Reporter(
            control_plane, Spool(settings.results_path), redactor, SYSTEM_CLOCK, self._metrics.count_report
        )
        identity = Identity(settings.container_id, settings.pod_name, self._port, time.time())
        return Upwards(control_plane, reporter), Lifecycle(control_plane, identity, SYSTEM_CLOCK)

    def _build_outputs(self, settings: Settings) -> Outputs | None:
        """None: there is no object store, or nobody who gives URLs for it."""
        if self._upwards is None or not settings.output_object_bytes:
            return None
        limits = OutputLimits(settings.output_object_bytes, settings.output_total_bytes)
        return Outputs(Uploader(self._upwards.control_plane, limits, SYSTEM_CLOCK), settings.results_path)

    async def live(self, listener: socket.socket) -> int:
        """Serves until a signal; the exit code."""
        stopped = _catch_signals()
        serving = asyncio.create_task(self._server.serve([listener]), name="http server")
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait([serving, listening], return_when=asyncio.FIRST_COMPLETED)
        log.info(
            "executor_started",
            version=VERSION,
            port=self._port,
            isolation=self._isolation.level,
            limits_enforcement=self._isolation.limits_enforcement,
            no_cgroups_because=self._isolation.cgroups_shortfall,
        )
        if self._isolation.shortfall:
            log.warning("isolation_reduced", shortfall=self._isolation.shortfall)
        _spare_what_is_there()
        background = [asyncio.create_task(_keep_going(loop), name=loop.__qualname__) for loop in self._loops()]
        futures: list[asyncio.Future[Any]] = [serving, stopped]
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            await serving
            raise RuntimeError("the HTTP server has ended by itself")
        end = _ENDS[stopped.result()]
        _exit_anyway_after(_EXIT_LIMIT_S, end.exit_code)
        log.info("executor_terminating", signal=stopped.result().name)
        for task in background:
            task.cancel()
        await self._terminate(end)
        self._server.should_exit = True
        await asyncio.wait([serving], timeout=_CLOSE_TIMEOUT_S)
        return end.exit_code

    async def announce_exited(self, end: _End) -> None:
        """As far as that is still possible."""
        if self._lifecycle is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EXITED_TIMEOUT_S):
                    await self._lifecycle.announce_exited(end.exit_code, end.reason)

    def _loops(self) -> list[Callable[[], Awaitable[None]]]:
        loops: list[Callable[[], Awaitable[None]]] = []
        if self._upwards is not None and self._lifecycle is not None:
            loops += [self._lifecycle.announce_ready, self._upwards.reporter.replay_forever]
        return [*loops, self._retention.sweep_forever, self._sandbox.keep]

    async def _terminate(self, end: _End) -> None:
        await self._service.terminate(_KILL_TIMEOUT_S)
        if self._upwards is not None:
            await self._upwards.reporter.close(_REPORT_TIMEOUT_S)
        await self.announce_exited(end)


def _catch_signals() -> asyncio.Future[signal.Signals]:
    """The first SIGTERM or SIGINT; a second SIGINT ends the process at once, as people expect."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[signal.Signals] = loop.create_future()

    def stop(number: signal.Signals) -> None:
        if not stopped.done():
            stopped.set_result(number)
        elif number is signal.SIGINT:
            os._exit(SIGINT_EXIT_CODE)

    for number in _ENDS:
        loop.add_signal_handler(number, stop, number)
    return stopped


def _exit_anyway_after(seconds: float, exit_code: int) -> None:
    """Whatever hangs: a disk, a thread, a library. Sandboxes die with this process."""
    timer = threading.Timer(seconds, os._exit, [exit_code])
    timer.daemon = True
    timer.start()


async def _keep_going(loop: Callable[[], Awaitable[None]]) -> None:
    """A background loop that breaks is logged and begun again; executions are worth more than it."""
    while True:
        try:
            await loop()
            return
        except Exception:
            log.exception("background_loop_broke")
            await asyncio.sleep(_RESTART_PAUSE_S)
