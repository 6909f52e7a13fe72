"""Everything that can go wrong in the log API.

LogApiError
├── StatusError           a refusal, as the ``Status`` object that a Kubernetes client expects
├── TrustError            who may speak for users is not known, so nobody may
├── OutputUnknown         the executor does not hold this output, or not any more
└── OutputBroken          the executor does not answer, or its answer broke off
"""

from collections.abc import Mapping
from typing import Any, Final

from log_api.group import GROUP, LOG, RESOURCE

_REASONS: Final[Mapping[int, str]] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}
"""https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/"""


class LogApiError(Exception):
    """The root of this package's exceptions."""


class StatusError(LogApiError):
    """What the client is told: an HTTP ``code``, a message for a person, and which Execution it is about.

    ``retry_after_s``: when asking again may help.
    """

    def __init__(self, code: int, message: str, *, name: str = "", retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.name = name
        self.retry_after_s = retry_after_s

    def to_kube(self) -> dict[str, Any]:
        """The ``metav1.Status``."""
        details: dict[str, Any] = {}
        if self.name:
            details |= {"name": self.name, "group": GROUP, "kind": RESOURCE}
        if self.retry_after_s:
            details["retryAfterSeconds"] = self.retry_after_s
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": _REASONS.get(self.code, "Unknown"),
            **({"details": details} if details else {}),
            "code": self.code,
        }


def bad_request(message: str) -> StatusError:
    """The client has to write something else."""
    return StatusError(400, message)


def unauthorized(why: str) -> StatusError:
    """Nobody has vouched for who this is."""
    return StatusError(401, f"Unauthorized: {why}; ask the Kubernetes API server, which asks here for you")


def forbidden(user: str, namespace: str, name: str, why: str, subresource: str = LOG) -> StatusError:
    """In the words of the API server's own refusals."""
    text = (
        f'{RESOURCE}.{GROUP} "{name}" is forbidden: User "{user}" cannot get resource "{RESOURCE}/{subresource}" '
        f'in API group "{GROUP}" in the namespace "{namespace}"'
    )
    return StatusError(403, f"{text}: {why}" if why else text, name=name)


def not_found(name: str) -> StatusError:
    """There is no such Execution."""
    return StatusError(404, f'{RESOURCE}.{GROUP} "{name}" not found', name=name)


def unavailable(message: str, name: str = "") -> StatusError:
    """It may work a little later."""
    return StatusError(503, message, name=name, retry_after_s=1)


class TrustError(LogApiError):
    """The API server's ConfigMap or a certificate cannot be read, or says what must not be trusted."""


class OutputUnknown(LogApiError):
    """The executor does not hold the output of this attempt."""


class OutputBroken(LogApiError):
    """No answer from the executor, or one that ended before its end or makes no sense; asking again may help.

    ``busy``: as many follow there as may.
    """

    def __init__(self, problem: str, *, busy: bool = False) -> None:
        super().__init__(problem)
        self.busy = busy
