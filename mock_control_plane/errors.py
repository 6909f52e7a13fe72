"""What can go wrong here.

::

    MockControlPlaneError
    ├── StartError        the environment is wrong; the text is one line
    └── Refused           a call gets an answer that is not a success
"""


class MockControlPlaneError(Exception):
    """The root of this package's errors."""


class StartError(MockControlPlaneError):
    """The environment is wrong; the text is one line for a person."""


class Refused(MockControlPlaneError):
    """Ends a call with an HTTP status."""

    def __init__(self, status: int, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.description = description
