"""The seccomp profile that nodes hold for executor pods, and why each system call is in it.

The container runtime's default profile refuses what bubblewrap needs, and ``Unconfined``
refuses nothing. This one is an allow list of its own: what Python, Node.js and bash use,
plus the calls that build a sandbox. It confines the executor and everything below it; the
sandboxes add a second, narrower filter (``executor_runtime/sandbox``). What is not named here
gets EPERM; calls newer than every named one get ENOSYS from runc, so that libc falls back.

``python -m deploy.seccomp.profile`` writes the JSON file that the chart ships; a test fails
when the two differ. The form is ``linux.seccomp`` of the OCI runtime specification, which is
what containerd and CRI-O read from the kubelet's ``seccomp/`` folder.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.seccomp.calls import ALLOWED

Profile = dict[str, Any]

CHART_FILE: Final = Path("deploy/helm/sandbox-executor/files/executor-seccomp.json")

EPERM: Final = 1
ENOSYS: Final = 38

ARCHITECTURES: Final = ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64")
"""Without their 32-bit siblings: a call through ``int 0x80`` or x32 kills the thread."""

SANDBOX_BUILDING: Final = {
    "clone": "bwrap makes all namespaces of a sandbox with one clone, so its flags cannot be masked.",
    "unshare": "--disable-userns: bwrap makes a second user namespace that may have no others below it.",
    "mount": "Binds, tmpfs, /proc and /dev of the sandbox, in its own mount namespace.",
    "umount2": "Detaches the pod's root from the sandbox.",
    "pivot_root": "Makes the new root the root.",
    "sethostname": "--hostname, in the sandbox's own UTS namespace.",
    "setns": "The fork server puts process 1 into the namespaces that bwrap has made for it.",
}
"""What bubblewrap and the fork server call and the runtime's default refuses, each with its reason."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of an argument: ``op`` is an OCI operator, ``value`` its 64-bit operand."""

    index: int
    value: int
    op: str = "SCMP_CMP_EQ"


AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
NETLINK_ROUTE: Final = 0

CONDITIONAL: Final[tuple[tuple[str, tuple[Condition, ...], str], ...]] = (
    ("socket", (Condition(0, AF_UNIX),), "Local sockets."),
    ("socket", (Condition(0, AF_INET),), "The executor's HTTP server and its reports."),
    ("socket", (Condition(0, AF_INET6),), "The same over IPv6."),
    (
        "socket",
        (Condition(0, AF_NETLINK), Condition(2, NETLINK_ROUTE)),
        "bwrap raises the loopback device of a sandbox, libc lists interfaces. Not nf_tables and the other families.",
    ),
    ("socketpair", (Condition(0, AF_UNIX),), "Event loops wake themselves."),
    ("personality", (Condition(0, 0x0),), "Linux, as it is."),
    ("personality", (Condition(0, 0x20000),), "UNAME26."),
    ("personality", (Condition(0, 0xFFFFFFFF),), "Asks, changes nothing."),
)
"""Calls that are allowed with these arguments only: rule by rule, a rule's conditions all hold.

Equality on an allow list, because comparisons see 64 bits where the kernel reads 32: a refused
family with a high bit set passes a rule that says "not equal".
"""


def build_profile() -> Profile:
    """The profile as the value of ``linux.seccomp``."""
    names = {name for category in ALLOWED for name in category.names} | set(SANDBOX_BUILDING)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": list(ARCHITECTURES),
        "syscalls": [
            {"names": sorted(names), "action": "SCMP_ACT_ALLOW"},
            *({"names": [name], "action": "SCMP_ACT_ALLOW", "args": _args(rule)} for name, rule, _ in CONDITIONAL),
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
        ],
    }


def _args(rule: tuple[Condition, ...]) -> list[dict[str, Any]]:
    return [{"index": item.index, "value": item.value, "op": item.op} for item in rule]


def render_profile() -> str:
    """The text of the chart's file."""
    return json.dumps(build_profile(), indent=2) + "\n"


def main() -> None:
    """Writes the profile to the file that is named, the chart's own by default."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else CHART_FILE
    target.write_text(render_profile())


if __name__ == "__main__":
    main()
