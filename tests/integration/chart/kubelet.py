"""Runs the containers of the chart's Jobs beside an API server that has no nodes: the same command, the same rights."""

import subprocess
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.integration.controller.apiserver import ROOT, ApiServer
from tests.patience import PATIENCE_S

_LOOK_AGAIN_S: Final = 0.2


@dataclass
class Kubelet:
    """``with`` it, each new Job of the namespace runs once, as a process with its ServiceAccount's token."""

    server: ApiServer
    namespace: str
    folder: Path
    ran: list[str] = field(default_factory=list)
    """Names of the Jobs, in the order in which they ran."""
    said: list[str] = field(default_factory=list)
    """What each of them printed."""
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _seen: set[str] = field(default_factory=set)

    def __enter__(self) -> "Kubelet":
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def _jobs(self) -> str:
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

    def _follow(self) -> None:
        while not self._over.wait(_LOOK_AGAIN_S):
            for job in self.server.request("GET", self._jobs)["items"]:
                ended = (job.get("status") or {}).get("conditions")
                if job["metadata"]["uid"] not in self._seen and not ended:
                    self._seen.add(job["metadata"]["uid"])
                    self._run(job)

    def _run(self, job: dict[str, Any]) -> None:
        spec = job["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        python, *arguments = container["args"]
        assert python == "python"
        kubeconfig = self.folder / f"{job['metadata']['uid']}.kubeconfig"
        self.server.write_kubeconfig(kubeconfig, self._token(spec["serviceAccountName"]))
        done = subprocess.run(
            [sys.executable, *arguments],
            env={"KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        self.ran.append(job["metadata"]["name"])
        self.said.append(done.stdout + done.stderr)
        self._end(job, done.returncode)

    def _token(self, account: str) -> str:
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
        return str(self.server.request("POST", path, body)["status"]["token"])

    def _end(self, job: dict[str, Any], code: int) -> None:
        """Writes the end as the Job controller does, which runs nowhere here."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        first, then = ("SuccessCriteriaMet", "Complete") if code == 0 else ("FailureTarget", "Failed")
        conditions = [
            {"type": kind, "status": "True", "reason": f"ExitCode{code}", "lastTransitionTime": now}
            for kind in (first, then)
        ]
        status = {"startTime": now, "conditions": conditions, **({"completionTime": now} if code == 0 else {})}
        path = f"{self._jobs}/{job['metadata']['name']}/status"
        self.server.request("PATCH", path, {"status": status}, kind="application/merge-patch+json")
