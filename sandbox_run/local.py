"""The way of one Execution without a cluster: admitted, claimed, dispatched, run, folded into a status.

The controller's own admission, request, executor client and fold; the executor's own process. What is
missing is what needs an API server: the queue of a pool, ConfigMaps and Secrets.
"""

import asyncio
import secrets
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from contracts.control_plane_api import ResultReport
from contracts.execution import ExecutionStatus
from contracts.executor_api import ExecutionLimits, ExecutionResult
from contracts.kube import API_VERSION, EXECUTION_KIND
from contracts.pool import ExecutorPoolSpec, ExecutorPoolStatus
from controller.admission import Accepted, PoolNotFound, Rejected, admit
from controller.clients.executor import ExecutorClient
from controller.errors import ExecutorError, ExecutorRefusal
from controller.facts import Claimed, Fact, Refused, ResultSeen
from controller.inputs import Grant, make_request
from controller.resources import Execution, Pool
from controller.status import advance
from sandbox_executor_client.execution import Execution as Seen
from sandbox_run.ended import Ended
from sandbox_run.errors import ExecutorFailed, ManifestError
from sandbox_run.executor import local_executor
from sandbox_run.following import Show, follow
from sandbox_run.manifest import Wanted

_POLL_S: Final = 0.01
_POD: Final = "localhost"
_ATTEMPT: Final = 1


async def run_locally(wanted: Wanted, say: Callable[[str], None], show: Show | None = None) -> Ended:
    """The Execution as it would end in a cluster, with its output; ``say`` hears how far it is.

    ``show`` is given all of the output while it runs; then the program waits when it writes faster than that is shown.

    Raises:
        ManifestError: it takes its code or a file from a ConfigMap.
        ExecutorFailed: no executor could be started here, or it went away.
    """
    execution = _as_stored(wanted)
    pool = Pool(execution.spec.pool, "", 1, ExecutorPoolSpec(), ExecutorPoolStatus())
    match admit(execution, pool, frozenset()):
        case Rejected() as verdict:
            return _ended(execution, _fold(execution.status, _refused(verdict)))
        case PoolNotFound() as verdict:
            raise ExecutorFailed(verdict.message)
        case Accepted(limits):
            return await _run(execution, limits, say, show)


def _as_stored(wanted: Wanted) -> Execution:
    """With what the API server would give it: a UID and a creation time."""
    return Execution(
        namespace=wanted.namespace or "default",
        name=wanted.name or "local",
        uid=str(uuid.uuid4()),
        resource_version="1",
        generation=1,
        created=_now(),
        deleting=False,
        spec=wanted.spec,
        status=ExecutionStatus(),
    )


async def _run(execution: Execution, limits: ExecutionLimits, say: Callable[[str], None], show: Show | None) -> Ended:
    request = await make_request(execution, Grant(secrets.token_hex(32), limits), _NoCluster())
    if isinstance(request, Rejected):
        return _ended(execution, _fold(execution.status, _refused(request)))
    if show is not None and execution.spec.output_overflow is None:
        request = request.model_copy(update={"output_overflow": "hold"})
    say("starting an executor")
    async with local_executor() as executor:
        client = ExecutorClient(lambda: executor.token)
        try:
            status = _fold(execution.status, Claimed(execution.execution_id, _ATTEMPT, _POD, "", _now()))
            await client.execute(executor.url, request, _ATTEMPT)
            say("running")
            if show is not None:
                await follow(executor, execution.execution_id, show)
            result = await _wait_for_end(client, executor.url, execution.execution_id)
        except ExecutorRefusal as refusal:
            body = refusal.body
            refused = Refused("RefusedByExecutor", body.description, body.solution, _now())
            return _ended(execution, _fold(execution.status, refused))
        except ExecutorError as error:
            raise ExecutorFailed(f"the executor does not answer: {error}") from error
        finally:
            await client.close()
    status = _fold(status, ResultSeen(_ATTEMPT, ResultReport.of(result), _now()))
    return _ended(execution, status, result.stdout, result.stderr)


def _ended(execution: Execution, status: ExecutionStatus, stdout: str = "", stderr: str = "") -> Ended:
    body: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": EXECUTION_KIND,
        "metadata": {"name": execution.name, "namespace": execution.namespace},
        "status": status.to_kube(),
    }
    if status.return_value is not None:
        body["status"]["returnValue"] = status.return_value  # with the nulls that it holds
    return Ended(Seen(body), stdout, stderr)


async def _wait_for_end(client: ExecutorClient, url: str, execution_id: str) -> ExecutionResult:
    while True:
        state = await client.ask(url, execution_id)
        if state is None:
            raise ExecutorFailed("the executor has forgotten the execution")
        if state.result is not None:
            return state.result
        await asyncio.sleep(_POLL_S)


class _NoCluster:
    """Stands where the API server's client would: there is none to read from."""

    async def get(self, path: str) -> NoReturn:
        """Raises ManifestError."""
        raise ManifestError(
            f"what a ConfigMap or another Execution holds needs a cluster ({path}): add --cluster, or write it "
            "into the spec to run it here"
        )


def _fold(status: ExecutionStatus, fact: Fact) -> ExecutionStatus:
    return advance(status, fact, 1) or status


def _refused(verdict: Rejected) -> Refused:
    return Refused(verdict.reason, verdict.message, verdict.solution, _now())


def _now() -> datetime:
    return datetime.now(UTC)
