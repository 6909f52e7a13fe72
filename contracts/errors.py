"""The one form of an error that a client sees (the seed's T009), and its codes."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class ErrorCode(StrEnum):
    """Stable codes of the executor's HTTP API, each with one HTTP status."""

    VALIDATION = "Executor.ValidationError"
    UNAUTHORIZED = "Executor.Unauthorized"
    NOT_FOUND = "Executor.NotFound"
    METHOD_NOT_ALLOWED = "Executor.MethodNotAllowed"
    CONFLICT = "Executor.Conflict"
    TOMBSTONE = "Executor.Tombstone"
    STALE_EPOCH = "Executor.StaleEpoch"
    OTHER_RUN = "Executor.OtherRun"
    TOO_MANY_READERS = "Executor.TooManyReaders"
    QUEUE_FULL = "Executor.QueueFull"
    TERMINATING = "Executor.Terminating"
    INTERNAL = "Executor.InternalError"

    @property
    def http_status(self) -> int:
        """The HTTP status that an answer with this code has."""
        return _HTTP_STATUS[self]


_HTTP_STATUS = {
    ErrorCode.VALIDATION: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.CONFLICT: 409,
    ErrorCode.TOMBSTONE: 409,
    ErrorCode.STALE_EPOCH: 412,
    ErrorCode.OTHER_RUN: 412,
    ErrorCode.TOO_MANY_READERS: 429,
    ErrorCode.QUEUE_FULL: 503,
    ErrorCode.TERMINATING: 503,
    ErrorCode.INTERNAL: 500,
}


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    model_config = ConfigDict(frozen=True)

    error_code: str = Field(description="Stable, machine-readable.", examples=["Executor.ValidationError"])
    description: str = Field(description="What is wrong, in one sentence.")
    error_detail: str = Field(default="", description="Which field or object, and the bound it broke.")
    solution: str = Field(default="", description="What to write or do instead.")
    request_id: str = Field(description="The X-Request-ID of the request, also in the executor's log.")
