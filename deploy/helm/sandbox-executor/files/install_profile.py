"""Keeps one file on a node: ``install_profile.py SOURCE TARGET``.

The kubelet reads Localhost seccomp profiles from a folder of the node, and nothing in
Kubernetes puts them there. This program does, from a ConfigMap, in a DaemonSet: it writes the
file atomically, looks each minute whether it is still there, and ends on SIGTERM. It needs
nothing but the standard library of any Python 3, and runs as root without capabilities.
"""

import os
import signal
import sys
from pathlib import Path

CHECK_INTERVAL_S = 60
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def install(source: Path, target: Path) -> bool:
    """Writes ``target`` when it is missing or differs; says whether it did.

    The new content appears whole or not at all: a kubelet that reads meanwhile must not see a half profile.
    """
    wanted = source.read_bytes()
    if _content(target) == wanted:
        return False
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(wanted)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)
    return True


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def main() -> None:
    """Installs, then looks again every ``CHECK_INTERVAL_S`` until a stop signal comes."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    while True:
        if install(source, target):
            print(f"wrote {target}", flush=True)
        if signal.sigtimedwait(STOP_SIGNALS, CHECK_INTERVAL_S) is not None:
            return


if __name__ == "__main__":
    main()
