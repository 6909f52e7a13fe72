"""Everything that can go wrong on our side of a sandbox. User code that fails is a result, never one of these.

::

    SandboxError
    ├── IsolationUnavailable      this node or pod cannot give the isolation that is asked for
    │   ├── BwrapMissing
    │   └── SetuidBwrap
    ├── CgroupUnavailable         runs get no cgroup of their own here, and are watched instead
    ├── BindSourceChanged         what is bound into sandboxes is not the directory that was probed
    ├── LanguageUnavailable       no interpreter for the language under /usr
    ├── WorkspaceError            a workspace cannot be made, or is not the directory that it was
    └── PrivilegesError           an executor started as root cannot become unprivileged
"""


class SandboxError(Exception):
    """Base of this tree; its text is one line that a person can act on."""


class IsolationUnavailable(SandboxError):
    """What failed, and what to change in the pod."""


class BwrapMissing(IsolationUnavailable):
    """No ``bwrap`` on the executor's PATH (the seed's T055)."""


class SetuidBwrap(IsolationUnavailable):
    """``bwrap`` is setuid: it would mount as the host's root (CVE-2026-41163)."""


class CgroupUnavailable(SandboxError):
    """What is missing for it."""


class BindSourceChanged(SandboxError):
    """``/usr`` or another source is no directory, or not the one that it was."""


class LanguageUnavailable(SandboxError):
    """The image has no interpreter for the language."""


class WorkspaceError(SandboxError):
    """A workspace cannot be made, or was exchanged for something else."""


class PrivilegesError(SandboxError):
    """Root privileges cannot be dropped so that the executor still works."""
