"""What is kept of an execution's results beyond its status: how it is named, and how an executor hands it in.

An executor has no credentials of the object store. It says what it has, is given one URL for each object, and
sends the bytes there; what it names in its result is what it has sent.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts import bounds

RETURN_VALUE: Final = "returnValue"
ARTIFACTS_PREFIX: Final = "artifacts/"
"""Before the path of each artifact: so none can take the name of a stream, or of the return value."""
MAX_NAME_LENGTH: Final = 1024
SHA256_PATTERN: Final = "^[0-9a-f]{64}$"

OUTPUTS_VARIABLES: Final = ("OUTPUT_OBJECT_BYTES", "OUTPUT_TOTAL_BYTES")
"""By which an executor learns that there is a store: the most of one object, and of all of one execution."""


OutputName = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]
MissingReason = Literal[
    "OutputTooLarge", "TooManyOutputs", "StoreUnavailable", "UploadRefused", "UploadTimedOut", "UploadStopped"
]
"""Why some of it is not in the store."""


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """Bytes of one object, and of all of one attempt. The executor and the controller both hold an attempt to them."""

    object_bytes: int
    total_bytes: int


def is_empty(value: Any) -> bool:
    """For ``exclude_if``: what says nothing is left out, so that nothing changes where there is no store."""
    return not value


class OutputMetadata(BaseModel):
    """One object: what it is called, and what proves that it is the one."""

    model_config = ConfigDict(frozen=True)

    name: OutputName = Field(description="stdout, stderr, returnValue, or artifacts/ and the path of a file.")
    size: int = Field(ge=0, le=bounds.MAX_INT64, description="Bytes.")
    sha256: Sha256 = Field(description="Of its bytes, hexadecimal.")
    media_type: str = Field(default="application/octet-stream", max_length=255, description="By the name's extension.")
    truncated: bool = Field(default=False, exclude_if=is_empty, description="The code wrote more than was kept.")


class OutputsMissing(BaseModel):
    """Something could not be stored: the first reason, and all of it in a sentence."""

    model_config = ConfigDict(frozen=True)

    reason: MissingReason = Field(description="Of the first that is missing, in one stable word.")
    message: str = Field(max_length=2048, description="Which are missing, and why.")


class UploadRequest(BaseModel):
    """``POST …/uploads``: what an executor wants to store of one execution."""

    model_config = ConfigDict(frozen=True)

    outputs: list[OutputMetadata] = Field(min_length=1, max_length=bounds.MAX_OUTPUTS)


class Upload(BaseModel):
    """Where the bytes of one object go. Whoever has the URL can write that object, so nothing shows it."""

    model_config = ConfigDict(frozen=True)

    url: str = Field(repr=False, description="For one PUT of one object; a path is relative to the asker's own URL.")
    headers: dict[str, str] = Field(default_factory=dict, description="To be sent with it.")


class UploadAnswer(BaseModel):
    """As many uploads as were asked for, in that order."""

    model_config = ConfigDict(frozen=True)

    uploads: list[Upload]
