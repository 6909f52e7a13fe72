"""Whose processor time a while takes, by program: what holds a figure that misses its goal.

All processes of the machine are read from ``/proc`` before and after. What lives for less than that (sandboxes, mostly)
is the rest, against the kernel's own sum; so is the work of the kernel for nobody.
"""

import re
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import psutil

REST: Final = "sandboxes, all else that came and went, the kernel"
_PROGRAMS: Final = (
    ("kube-apiserver", r"kube-apiserver"),
    ("etcd", r"(^|/)etcd( |$)"),
    ("kubelet, containerd, runc", r"kubelet|containerd|(^|/)runc"),
    ("other parts of Kubernetes", r"kube-(scheduler|controller-manager|proxy)|coredns|kindnet|local-path"),
    ("controllers", r"-m controller"),
    ("null operator", r"null_operator"),
    ("executors", r"-m executor_runtime"),
    ("fork servers, sandboxes that wait", r"import marshal"),
    ("this benchmark", r"-m benchmarks"),
)


@dataclass(frozen=True)
class Look:
    """The processors' time at one moment: seconds by process, and in all."""

    at: float
    of: dict[tuple[int, float], tuple[str, float]]
    """By pid and start, the program and its seconds."""
    busy_s: float

    @classmethod
    def now(cls) -> "Look":
        """Reads it."""
        found = {}
        for process in psutil.process_iter(["pid", "create_time", "cmdline", "cpu_times"]):
            line, times = process.info["cmdline"], process.info["cpu_times"]
            if line and times is not None:
                key = (process.info["pid"], process.info["create_time"])
                found[key] = (_program(" ".join(line)), times.user + times.system)
        times = psutil.cpu_times()
        return cls(time.monotonic(), found, sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)

    def until(self, end: "Look") -> tuple[dict[str, float], float]:
        """(seconds of processor time by program, most first; seconds that the processors idled, over all of them)."""
        spent: defaultdict[str, float] = defaultdict(float)
        for key, (program, seconds) in end.of.items():
            spent[program] += seconds - self.of.get(key, ("", 0.0))[1]
        busy_s = end.busy_s - self.busy_s
        spent[REST] += busy_s - sum(spent.values())
        idle_s = (end.at - self.at) * (psutil.cpu_count() or 1) - busy_s
        return dict(sorted(spent.items(), key=lambda item: -item[1])), idle_s


def show(spent: dict[str, float], idle_s: float, count: int) -> None:
    """Prints milliseconds for each of ``count``."""
    for program, seconds in spent.items():
        print(f"  {1000 * seconds / count:7.1f} ms  {program}")
    print(f"  {1000 * idle_s / count:7.1f} ms  idle")


def _program(line: str) -> str:
    return next((name for name, pattern in _PROGRAMS if re.search(pattern, line)), "others")
