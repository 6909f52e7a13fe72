"""Everything that the executor's service can say no with.

::

    ExecutorError
    ├── StartError               one line for a person; the process exits with 1
    └── RequestError             one answer of the HTTP API
        ├── ValidationFailed     400
        ├── Unauthorized         401
        ├── NotFound             404
        ├── MethodNotAllowed     405
        ├── Conflict             409
        │   └── Buried           409: a tombstone
        ├── StaleEpoch           412
        ├── OtherRun             412
        ├── TooManyReaders       429 with Retry-After
        ├── QueueFull            503 with Retry-After
        │   ├── BacklogFull      503
        │   └── Terminating      503
        └── Interrupted          500, the execution was ended by the executor's own end

Errors of the sandbox are in ``executor_runtime.sandbox.errors``. User code that fails is a
result, never an error.
"""

from typing import Final

from contracts.errors import ErrorCode

RETRY_AFTER_S: Final = 1
_BACKLOG_RETRY_AFTER_S: Final = 30
"""As often as the spool is sent again (``report.REPLAY_INTERVAL_S``)."""


class ExecutorError(Exception):
    """Base of this tree."""


class StartError(ExecutorError):
    """The executor cannot start; the text is one line that names what to change."""


class RequestError(ExecutorError):
    """One refused request: what is wrong, where, and what to do instead. Never holds a secret."""

    code: str = ErrorCode.INTERNAL
    http_status: int = 500
    close_connection = False
    """Whether the rest of the request is not worth reading."""

    def __init__(self, description: str, detail: str = "", solution: str = "") -> None:
        super().__init__(description)
        self.description = description
        self.detail = detail
        self.solution = solution

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the answer."""
        return {"Connection": "close"} if self.close_connection else {}


class ValidationFailed(RequestError):
    """The request is not what the API takes; ``detail`` names the field and the bound."""

    code = ErrorCode.VALIDATION
    http_status = 400


class BodyRefused(ValidationFailed):
    """The body is too large or too slow: it is not read to its end."""

    close_connection = True


class Unauthorized(RequestError):
    """No token, or a wrong one. Says nothing about which."""

    code = ErrorCode.UNAUTHORIZED
    http_status = 401
    close_connection = True

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110 asks for a challenge."""
        return {"WWW-Authenticate": "Bearer", **super().headers}


class NotFound(RequestError):
    """No such execution or artifact."""

    code = ErrorCode.NOT_FOUND
    http_status = 404


class MethodNotAllowed(RequestError):
    """The path is there, and takes other methods."""

    code = ErrorCode.METHOD_NOT_ALLOWED
    http_status = 405

    def __init__(self, allowed: str) -> None:
        super().__init__("This path does not take this method.", solution=f"Use {allowed}.")
        self._allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110 asks for the list."""
        return {"Allow": self._allowed, **super().headers}


class Conflict(RequestError):
    """The id is known, and this request cannot join it."""

    code: str = ErrorCode.CONFLICT
    http_status = 409


class Buried(Conflict):
    """Somebody made sure that nothing begins under this id, before this request arrived."""

    code = ErrorCode.TOMBSTONE


class StaleEpoch(RequestError):
    """A newer leader has spoken: whoever asks is none any more."""

    code = ErrorCode.STALE_EPOCH
    http_status = 412


class OtherRun(RequestError):
    """The request was meant for an earlier run of this executor, which may have begun it."""

    code = ErrorCode.OTHER_RUN
    http_status = 412


class TooManyReaders(RequestError):
    """As many follow the output of executions here as may."""

    code = ErrorCode.TOO_MANY_READERS
    http_status = 429

    @property
    def headers(self) -> dict[str, str]:
        """When to try again, in whole seconds."""
        return {"Retry-After": str(RETRY_AFTER_S), **super().headers}


class QueueFull(RequestError):
    """Every slot is busy and the queue is full, or too many bodies are being read."""

    code: str = ErrorCode.QUEUE_FULL
    http_status = 503
    retry_after_s = RETRY_AFTER_S

    @property
    def headers(self) -> dict[str, str]:
        """When to try again, in whole seconds."""
        return {"Retry-After": str(self.retry_after_s), **super().headers}


class BacklogFull(QueueFull):
    """The Control Plane takes no results: those that wait for it fill the spool."""

    retry_after_s = _BACKLOG_RETRY_AFTER_S


class Terminating(QueueFull):
    """The executor is about to exit and takes nothing new."""

    code = ErrorCode.TERMINATING


class Interrupted(RequestError):
    """The executor ended this execution because it is itself about to exit."""
