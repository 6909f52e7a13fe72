"""Everything that can go wrong in the controller and is not a fact about an Execution.

ControllerError
├── SettingsError                 the process cannot start
├── KubeError                     the API server answered with an error
│   ├── KubeNotFound              404
│   ├── KubeConflict              409: the object has changed since it was read
│   └── KubeUnavailable           no answer, 429 or 5xx: trying again may help
└── ExecutorError                 an executor did not do what it was asked
    ├── ExecutorUnreachable       no answer, 401, 429 or 5xx: trying again may help
    └── ExecutorRefusal           it never will (400, 409): carries the body of its answer
"""

from contracts.errors import ErrorBody


class ControllerError(Exception):
    """The root of this package's exceptions."""


class SettingsError(ControllerError):
    """A setting is missing or wrong; the text names it and says what to write."""


class KubeError(ControllerError):
    """The API server refused a request: HTTP ``status``, its ``reason`` and message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class KubeNotFound(KubeError):
    """The object, or its kind, is not there."""


class KubeConflict(KubeError):
    """The object has changed since it was read, or exists already."""


class KubeUnavailable(KubeError):
    """No answer, or one that says to try again."""


class ExecutorError(ControllerError):
    """An executor did not do what it was asked."""


class ExecutorUnreachable(ExecutorError):
    """No answer, or one after which the same request may succeed."""


class ExecutorRefusal(ExecutorError):
    """The executor will never take this request; ``body`` is its answer, ``status`` the HTTP status."""

    def __init__(self, status: int, body: ErrorBody) -> None:
        super().__init__(f"{status} {body.error_code}: {body.description}")
        self.status = status
        self.body = body
