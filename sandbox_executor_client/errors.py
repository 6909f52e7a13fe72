"""Everything that this client raises. Code that fails is an Execution that has ended: ``check=True`` alone raises.

::

    ClientError
    ├── NotConfigured      no cluster is configured
    ├── InvalidExecution   what was asked for is refused; its message says what to write instead
    ├── Forbidden          the credentials are missing, or may not do this
    ├── NotFound           no such Execution
    │   ├── Deleted        it was deleted while it was waited for
    │   └── NotInstalled   the cluster does not know Executions
    ├── Corrupted          what came is not what the status says
    ├── Conflict           the name belongs to an Execution that asks for something else
    ├── Unavailable        the API server did not answer, several times in a row
    ├── WaitTimeout        it has not ended yet; it goes on
    └── ExecutionFailed    the code did not succeed, and the caller had asked for an exception (``check=True``)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox_executor_client.result import Result


class ClientError(Exception):
    """Base of this tree; its text is one line that a person can act on.

    Attributes:
        code: stable, for programs: the API server's own reason (``AlreadyExists``), or of a failed Execution
            ``status.error.errorCode``; else the name of the class.
        request_id: what the API server's audit log (``auditID``), or the executor's log, knows the request by; empty
            when there was no answer.
    """

    def __init__(self, message: str, *, code: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.code = code or type(self).__name__
        self.request_id = request_id


class NotConfigured(ClientError):
    """There is neither a kubeconfig nor a ServiceAccount."""


class InvalidExecution(ClientError):
    """HTTP 400 or 422, or a request larger than the API server takes, or one that never reached it."""


class Forbidden(ClientError):
    """HTTP 401 or 403."""


class NotFound(ClientError):
    """HTTP 404: no such object."""


class Deleted(NotFound):
    """It was deleted while it was waited for: how it ended is not known any more."""


class NotInstalled(NotFound):
    """The API server has no such resource: the operator's CustomResourceDefinitions are not in this cluster."""


class Corrupted(ClientError):
    """An output is not what its Execution's status says, by its size or SHA-256: nothing of it was kept."""


class Conflict(ClientError):
    """An Execution of this name exists and asks for something else: nothing was created."""


class Unavailable(ClientError):
    """No answer, or HTTP 429 or 5xx, as often as the client tries."""


class WaitTimeout(ClientError):
    """The time to wait is over; the Execution itself goes on."""


class ExecutionFailed(ClientError):
    """The code did not succeed; ``result`` has all that is known."""

    def __init__(self, result: "Result[Any]") -> None:
        code, request_id = (result.failure.code, result.failure.request_id) if result.failure else ("", "")
        super().__init__(
            f"{result.namespace}/{result.name} {result.phase} ({result.reason}): {result.message}",
            code=code or result.reason,
            request_id=request_id,
        )
        self.result = result
