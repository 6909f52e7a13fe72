"""Another kernel for tests: User Mode Linux, which has cgroup v2 with all controllers whatever the machine has.

It runs as an ordinary program. The machine's files are its root, read-only; what it writes is in memory. Debian's
package user-mode-linux is for x86_64 alone (scripts/setup installs it there).
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

KERNEL: Final = Path("/usr/bin/linux.uml")
_ROOT: Final = Path(__file__).resolve().parents[2]
_INIT: Final = Path(__file__).with_name("usermode_init.sh")
_MEMORY: Final = "1200M"
_MARK: Final = "RESULT "


def run_in_kernel(module: str, directory: Path, timeout_s: float = 600) -> dict[str, Any]:
    """Boots the kernel, runs ``python -m MODULE`` in it as in a container, and takes the object that it prints.

    ``directory`` holds the kernel's memory while it runs. What the module finds is what ``usermode_init.sh`` sets up:
    a cgroup and mount namespace of its own, and a cgroup that belongs to uid 1000.
    """
    process = subprocess.Popen(
        [
            str(KERNEL),
            *(f"mem={_MEMORY}", "rootfstype=hostfs", "hostfs=/", "root=/dev/root", "ro", "quiet"),
            *("con=null", "con0=null,fd:1", "con1=null", f"uml_dir={directory}", "init=/bin/sh"),
            *("--", str(_INIT), str(_ROOT), sys.executable, module),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"TMPDIR": str(directory), "HOME": str(directory), "PATH": "/usr/bin:/bin"},
        start_new_session=True,
    )
    try:
        console, _ = process.communicate(timeout=timeout_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its processes are this machine's
        process.wait()
    lines = console.decode(errors="replace").splitlines()
    results = [line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)]
    if len(results) != 1:
        raise RuntimeError(f"no result from the kernel; its console: {lines[-40:]}")
    answer: dict[str, Any] = json.loads(results[0])
    return answer


def can_run() -> bool:
    """Not on a processor with AMX: this kernel's buffer for such a one's registers is too small, and it panics."""
    return os.uname().machine == "x86_64" and " amx_tile" not in Path("/proc/cpuinfo").read_text()


def give(result: dict[str, Any]) -> None:
    """Prints the object, in the kernel."""
    print(f"\n{_MARK}{json.dumps(result)}", flush=True)
