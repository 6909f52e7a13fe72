"""A steady stream of Executions, and what became of them: none lost, none begun twice."""

import contextlib
import json
import subprocess
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from tests.e2e.cluster import DEFAULT_PODS, SYSTEM_NAMESPACE, Tenant, Tools, condition, eventually, execution

_CODE = "def handler(event):\n    return event\n"


class Stream:
    """Executions, one after the other as fast as kubectl creates them."""

    def __init__(self, tenant: Tenant, name: str = "stream") -> None:
        self._tenant = tenant
        self._name = name
        self._ended = threading.Event()
        self.created: dict[str, float] = {}
        """When kubectl had created each (Unix seconds)."""

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        """For as long as the block lasts."""
        with ThreadPoolExecutor(max_workers=1) as threads:
            flow = threads.submit(self._flow)
            try:
                yield
            finally:
                self._ended.set()
            flow.result()

    def _flow(self) -> None:
        while not self._ended.is_set():
            name = f"{self._name}-{len(self.created):04d}"
            self._tenant.apply(execution(name, _CODE, event=name))
            self.created[name] = time.time()

    def go_on(self, count: int = 5) -> None:
        """Waits until the last of so many further Executions is claimed."""
        wanted = len(self.created) + count
        name = f"{self._name}-{wanted:04d}"
        eventually(lambda: len(self.created) > wanted, timeout_s=120)
        eventually(lambda: self._tenant.status(name).get("startTime"), timeout_s=120)

    def check(self, may_crash: int, logs: "Logs | None" = None) -> float:
        """All have ended, each with its own value, and none was begun twice; how long one waited at most (seconds).

        From when kubectl had created it, so that a kubectl that is slow is not taken for a controller that is, until it
        was claimed, as the controller says. ``logs``: those of executors that are gone by now.
        """
        self._tenant.finished(*self.created, timeout_s=170)
        found = self._tenant.tools.items("executions.sandbox-executor.dev", self._tenant.namespace)
        status = {item["metadata"]["name"]: item["status"] for item in found}
        assert set(self.created) <= set(status)
        phases = Counter(status[name]["phase"] for name in self.created)
        assert set(phases) <= {"Succeeded", "Crashed"}, phases
        crashed = [status[name] for name in self.created if status[name]["phase"] == "Crashed"]
        told = [(one["startTime"], one["completionTime"], condition(one, "Finished")["message"]) for one in crashed]
        assert len(crashed) <= may_crash, (phases, told)
        for name in self.created:
            assert status[name]["attempt"] == 1
            if status[name]["phase"] == "Succeeded":
                assert status[name]["returnValue"] == name
        begun = _begun((logs or Logs(self._tenant.tools)).read())
        repeated = {execution_id: where for execution_id, where in begun.items() if len(where) > 1}
        assert not repeated, repeated
        succeeded = {status[name]["executionId"] for name in self.created if status[name]["phase"] == "Succeeded"}
        assert succeeded <= set(begun), "the logs are not whole"
        claims = {name: datetime.fromisoformat(status[name]["startTime"]).timestamp() for name in self.created}
        return max(claims[name] - at for name, at in self.created.items())


class Logs:
    """The logs of the default pool's executors, also of pods that went away after ``follow``."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kept: dict[str, list[str]] = {}

    @contextlib.contextmanager
    def follow(self) -> Iterator[None]:
        """What the pods of this moment say is kept."""
        followed: dict[str, subprocess.Popen[bytes]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for pod in self._tools.pods(DEFAULT_PODS):
                name = pod["metadata"]["name"]
                words = [self._tools.kubectl_path, "logs", "-f", "-n", SYSTEM_NAMESPACE, name, "--tail=-1"]
                with Path(folder, name).open("wb") as log:
                    followed[name] = subprocess.Popen(words, stdout=log)
            try:
                yield
            finally:
                for process in followed.values():
                    process.terminate()
                    process.wait()
            self._kept |= {name: Path(folder, name).read_text().splitlines() for name in followed}

    def read(self) -> Iterator[tuple[str, str]]:
        """All lines, once each, with the pods that have said them."""
        present = {pod["metadata"]["name"] for pod in self._tools.pods(DEFAULT_PODS)}
        for name in present:
            log = self._tools.kubectl("logs", "-n", SYSTEM_NAMESPACE, name, "--tail=-1")
            yield from ((name, line) for line in log.splitlines())
        for name in self._kept.keys() - present:
            yield from ((name, line) for line in self._kept[name])


def _begun(lines: Iterable[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """For each execution id the pods on which it was begun, and when."""
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for pod, line in lines:
        if '"execution_started"' in line:
            record = json.loads(line)
            found[record["execution_id"]].append((pod, record["timestamp"]))
    return found
