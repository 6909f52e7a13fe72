"""Runs a command under the node's seccomp profile: ``python -m tests.security.under_profile COMMAND ARGUMENT...``.

``--without NAME`` in front takes one call out of the profile, to show that it is needed.

What the kubelet and runc do to an executor container, as far as the profile goes. Started by
root it becomes uid 1000 first, as the container is.
"""

import json
import os
import sys

from deploy.seccomp.profile import CHART_FILE
from tests.unit.chart.oci_seccomp import build_filter

UNPRIVILEGED_ID = 1000


def main() -> None:
    profile, command = json.loads(CHART_FILE.read_text()), sys.argv[1:]
    if command[0] == "--without":
        profile["syscalls"][0]["names"].remove(command[1])
        command = command[2:]
    seccomp = build_filter(profile)
    os.chdir("/")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(*[UNPRIVILEGED_ID] * 3)
        os.setresuid(*[UNPRIVILEGED_ID] * 3)
    seccomp.load()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
