"""The way of one Execution without a cluster: admitted, claimed, dispatched, run, folded into a status.

The controller's own admission, request, executor client and fold; the executor's own process. What is
missing is what needs an API server: the queue of a pool, ConfigMaps and Secrets.
"""

import asyncio
import secrets
from datetime import UTC, datetime
from typing import Final, NoReturn

from contracts.control_plane_api import ResultReport
from contracts.execution import ExecutionStatus
from contracts.executor_api import ExecutionLimits, ExecutionResult
from contracts.pool import ExecutorPoolSpec, ExecutorPoolStatus
from controller.admission import Accepted, PoolNotFound, Rejected, admit
from controller.clients.executor import ExecutorClient
from controller.errors import ExecutorError, ExecutorRefusal
from controller.facts import Claimed, Fact, Refused, ResultSeen
from controller.inputs import Grant, make_request
from controller.resources import Execution, Pool
from controller.status import advance
from sandbox_run.errors import ExecutorFailed, ManifestError
from sandbox_run.executor import local_executor

_POLL_S: Final = 0.01
_POD: Final = "localhost"
_ATTEMPT: Final = 1


async def run_locally(execution: Execution) -> ExecutionStatus:
    """The status that the Execution would have in a cluster, once it has ended.

    Raises:
        ManifestError: it takes its code from a ConfigMap.
        ExecutorFailed: no executor could be started here, or it went away.
    """
    pool = Pool(execution.spec.pool, "", 1, ExecutorPoolSpec(), ExecutorPoolStatus())
    match admit(execution, pool, frozenset()):
        case Rejected() as verdict:
            return _fold(execution.status, _refused(verdict))
        case PoolNotFound() as verdict:
            raise ExecutorFailed(verdict.message)
        case Accepted(limits):
            return await _run(execution, limits)


async def _run(execution: Execution, limits: ExecutionLimits) -> ExecutionStatus:
    request = await make_request(execution, Grant(secrets.token_hex(32), limits), _NoCluster())
    if isinstance(request, Rejected):
        return _fold(execution.status, _refused(request))
    async with local_executor() as executor:
        client = ExecutorClient(lambda: executor.token)
        try:
            status = _fold(execution.status, Claimed(execution.execution_id, _ATTEMPT, _POD, "", _now()))
            await client.execute(executor.url, request, _ATTEMPT)
            result = await _wait_for_end(client, executor.url, execution.execution_id)
        except ExecutorRefusal as refusal:
            body = refusal.body
            return _fold(execution.status, Refused("RefusedByExecutor", body.description, body.solution, _now()))
        except ExecutorError as error:
            raise ExecutorFailed(f"the executor does not answer: {error}") from error
        finally:
            await client.close()
    return _fold(status, ResultSeen(_ATTEMPT, ResultReport.of(result), _now()))


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
        raise ManifestError(f"spec.codeFrom needs a cluster ({path}); write spec.code to run it here")


def _fold(status: ExecutionStatus, fact: Fact) -> ExecutionStatus:
    return advance(status, fact, 1) or status


def _refused(verdict: Rejected) -> Refused:
    return Refused(verdict.reason, verdict.message, verdict.solution, _now())


def _now() -> datetime:
    return datetime.now(UTC)
