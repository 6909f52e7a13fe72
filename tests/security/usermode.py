"""Another kernel for tests: User Mode Linux, which has cgroup v2 with all controllers whatever the machine has.

It runs as an ordinary program. The machine's files are its root, read-only; what it writes is in memory. Debian's
package user-mode-linux is for x86_64 alone (scripts/setup installs it there).
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

KERNEL: Final = Path("/usr/bin/linux.uml")
_ROOT: Final = Path(__file__).resolve().parents[2]
_INIT: Final = Path(__file__).with_name("usermode_init.sh")
_MEMORY: Final = "1200M"
_MARK: Final = "RESULT "


def run_in_kernel(module: str, directory: Path, timeout_s: float = 180) -> dict[str, Any]:
    """Boots the kernel, runs ``python -m MODULE`` in it as in a container, and takes the object that it prints.

    ``directory`` holds the kernel's memory while it runs. What the module finds is what ``usermode_init.sh`` sets up:
    a cgroup and mount namespace of its own, and a cgroup that belongs to uid 1000.
    """
    done = subprocess.run(
        [
            str(KERNEL),
            *(f"mem={_MEMORY}", "rootfstype=hostfs", "hostfs=/", "root=/dev/root", "ro", "quiet"),
            *("con=null", "con0=null,fd:1", "con1=null", f"uml_dir={directory}", "init=/bin/sh"),
            *("--", str(_INIT), str(_ROOT), sys.executable, module),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={"TMPDIR": str(directory), "HOME": str(directory), "PATH": "/usr/bin:/bin"},
        timeout=timeout_s,
    )
    lines = done.stdout.decode(errors="replace").splitlines()
    results = [line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)]
    if len(results) != 1:
        raise RuntimeError(f"no result from the kernel; its console: {lines[-40:]}")
    answer: dict[str, Any] = json.loads(results[0])
    return answer


def give(result: dict[str, Any]) -> None:
    """Prints the object, in the kernel."""
    print(f"\n{_MARK}{json.dumps(result)}", flush=True)
