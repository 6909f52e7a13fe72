"""Refuses what must not be done any more because of who asks, or because of whom it was meant for.

Two headers stand for that, each optional, so that an executor alone works without them.
The *epoch* is the leader's: a controller that was stopped past its lease and goes on, or a request
of its that was long under way, comes with a smaller one than its successor's, and is refused. The
*run id* is the executor's own: after a restart it has forgotten what it ran, so a dispatch that was
sent to an earlier run may have begun there and must not begin again here.

The *attempt*, which comes with them, is for ``service`` to judge.
"""

import re
import uuid
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers

from contracts.executor_api import (
    ATTEMPT_HEADER,
    EPOCH_HEADER,
    MAX_ATTEMPT,
    MAX_EPOCH,
    OWNER_HEADER,
    OWNER_PATTERN,
    RUN_HEADER,
    RUN_ID_PATTERN,
)
from executor_runtime.errors import OtherRun, StaleEpoch, ValidationFailed

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")
_RUN_ID: Final = re.compile(RUN_ID_PATTERN)
_OWNER: Final = re.compile(OWNER_PATTERN)
_LEAVE_IT_OUT: Final = "Leave it out: only the operator's controller sends it."


@dataclass(frozen=True, slots=True)
class Sender:
    """What a request says of where it comes from; None: nothing."""

    epoch: int | None = None
    attempt: int | None = None
    owner: str | None = None
    """Whose output it will be (``live_output``): users choose ids, also those that others have had."""


class Fence:
    """The highest epoch that this run of the executor has seen, and the run's own id."""

    def __init__(self) -> None:
        self.run_id = uuid.uuid4().hex
        self._highest = 0

    def admit(self, headers: Headers) -> Sender:
        """Where a request comes from, if it may still be served.

        To be called right before what the request asks for is done, with no await between.

        Raises:
            ValidationFailed: a header is not what it should be.
            StaleEpoch: a newer leader has spoken before.
            OtherRun: the request is for an earlier run of this executor.
        """
        epoch = _read_number(EPOCH_HEADER, MAX_EPOCH, headers)
        attempt = _read_number(ATTEMPT_HEADER, MAX_ATTEMPT, headers)
        run_id = _read_text(RUN_HEADER, _RUN_ID, headers)
        owner = _read_text(OWNER_HEADER, _OWNER, headers)
        if epoch is not None:
            if epoch < self._highest:
                raise StaleEpoch(
                    "A newer leader has spoken to this executor.",
                    detail=f"{EPOCH_HEADER}: {epoch} is older than {self._highest}",
                    solution="Look up who leads; only the leader's requests are taken.",
                )
            self._highest = epoch
        if run_id is not None and run_id != self.run_id:
            raise OtherRun(
                "The request is for an earlier run of this executor, which may have begun it. It is not run.",
                detail=f"{RUN_HEADER}: {run_id} is not {self.run_id}",
                solution="GET /health says which run this is; ask before anything is run a second time.",
            )
        return Sender(epoch, attempt, owner)


def _read_number(name: str, largest: int, headers: Headers) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or int(text) > largest:
        raise ValidationFailed(
            f"The header {name} is not valid.",
            detail=f"{name}: must be a whole number from 1 to {largest}",
            solution=_LEAVE_IT_OUT,
        )
    return int(text)


def _read_text(name: str, pattern: re.Pattern[str], headers: Headers) -> str | None:
    text = headers.get(name)
    if text is not None and not pattern.fullmatch(text):
        raise ValidationFailed(
            f"The header {name} is not valid.",
            detail=f"{name}: must match {pattern.pattern}",
            solution=_LEAVE_IT_OUT,
        )
    return text
