"""Everything that can go wrong in the controller and is not a fact about an Execution.

ControllerError
├── SettingsError                 the process cannot start
├── NotLeader                     only the leader may do this
├── KubeError                     the API server answered with an error
│   ├── KubeNotFound              404
│   ├── KubeConflict              409: the object has changed since it was read
│   ├── KubeTooLarge              etcd has no room for the object, now or ever
│   └── KubeUnavailable           no answer, 429 or 5xx: trying again may help
├── StoreError                    the object store refuses, or does not answer
│   └── StoreNotFound             it has no such object
├── UploadRefused                 an executor may not store this
└── ExecutorError                 an executor did not do what it was asked
    ├── ExecutorUnreachable       no answer, 401, 412 (epoch), 429 or 5xx: trying again may help
    ├── ExecutorRefusal           it never will (400, 409): carries the body of its answer
    └── ExecutorFenced            it will not, and what became of an earlier try must be found out
"""

from contracts.errors import ErrorBody


class ControllerError(Exception):
    """The root of this package's exceptions."""


class SettingsError(ControllerError):
    """A setting is missing or wrong; the text names it and says what to write."""


class NotLeader(ControllerError):
    """Only the leader may do this, and this process is not, or no longer."""


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


class KubeTooLarge(KubeError):
    """The object would be larger than etcd takes."""


class KubeUnavailable(KubeError):
    """No answer, or one that says to try again."""


class StoreError(ControllerError):
    """The object store refuses, or does not answer; the text holds nothing of a request to it."""


class StoreNotFound(StoreError):
    """There is no such object."""


class UploadRefused(ControllerError):
    """An executor may not store this: it is more than it may, or not what was signed for."""


class ExecutorError(ControllerError):
    """An executor did not do what it was asked."""


class ExecutorUnreachable(ExecutorError):
    """No answer (``silent``), or one after which the same request may succeed.

    ``taken``: the request may have been taken all the same.
    """

    def __init__(self, problem: str, *, taken: bool = True, silent: bool = False) -> None:
        super().__init__(problem)
        self.taken = taken
        self.silent = silent


class ExecutorFenced(ExecutorError):
    """A tombstone lies there, or (``other_run``) it is not the run of the executor that was meant."""

    def __init__(self, problem: str, *, other_run: bool) -> None:
        super().__init__(problem)
        self.other_run = other_run


class ExecutorRefusal(ExecutorError):
    """The executor will never take this request; ``body`` is its answer, ``status`` the HTTP status."""

    def __init__(self, status: int, body: ErrorBody) -> None:
        super().__init__(f"{status} {body.error_code}: {body.description}")
        self.status = status
        self.body = body
