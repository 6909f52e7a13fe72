"""Everything that this client raises. Code that fails is an ``Execution`` that has ended, never one of these.

::

    ClientError
    ├── NotConfigured      no cluster is configured
    ├── InvalidExecution   the API server refused what was sent; its message says what to write instead
    ├── Forbidden          the credentials are missing, or may not do this
    ├── NotFound           no such Execution
    │   └── Deleted        it was deleted while it was waited for
    ├── Conflict           the name belongs to an Execution that asks for something else
    ├── Unavailable        the API server did not answer, several times in a row
    └── WaitTimeout        it has not ended yet; it goes on
"""


class ClientError(Exception):
    """Base of this tree; its text is one line that a person can act on."""


class NotConfigured(ClientError):
    """There is neither a kubeconfig nor a ServiceAccount."""


class InvalidExecution(ClientError):
    """HTTP 400 or 422, or a request larger than the API server takes."""


class Forbidden(ClientError):
    """HTTP 401 or 403."""


class NotFound(ClientError):
    """HTTP 404: no such Execution, or the operator is not installed in this cluster."""


class Deleted(NotFound):
    """It was deleted while it was waited for: how it ended is not known any more."""


class Conflict(ClientError):
    """An Execution of this name exists and asks for something else: nothing was created."""


class Unavailable(ClientError):
    """No answer, or HTTP 429 or 5xx, as often as the client tries."""


class WaitTimeout(ClientError):
    """The time to wait is over; the Execution itself goes on."""
