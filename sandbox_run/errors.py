"""What ends ``sandbox_run`` before an Execution has an outcome: each is one clear message for a person."""


class SandboxRunError(Exception):
    """The root of this package's errors; ``str(error)`` is what the person reads."""


class ManifestError(SandboxRunError):
    """The file is not an Execution, or not a valid one."""


class ExecutorFailed(SandboxRunError):
    """The executor did not start, or went away."""
