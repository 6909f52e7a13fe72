"""The preStop hook of an executor pod: waits until nothing runs and every result is told, for so many seconds at most.

``python -m executor_runtime.drain SECONDS`` runs beside the executor, in its container, before the kubelet sends
SIGTERM (https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/). The pod is marked for deletion by
then, so the controller places nothing on it any more; what still runs after the last second ends as Crashed, and so
does what has ended and could not be told: a controller that changes hands takes no reports for some seconds. It asks
``/health``, which needs no token, and imports nothing but the standard library: the node may be busy when it starts.
"""

import http.client
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Final

INTERVAL_S: Final = 0.2
SETTLED_S: Final = 1.0
"""Idle for so long: a dispatch that was under way when the pod was marked has arrived by then."""
_TIMEOUT_S: Final = 2.0
_DEFAULT_PORT: Final = "8080"


def count_active(port: int) -> int:
    """Executions that run, and results that wait to be taken; none when nobody answers, for then there is nobody to
    wait for. One that is there and answers too late is busy, and counts as if something ran.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        if answer.status != 200:
            return 0
        health = json.loads(answer.read())
        return int(health["active_executions"]) + int(health["unsent_reports"])
    except TimeoutError:
        return 1
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return 0
    finally:
        connection.close()


def wait_until_idle(
    active: Callable[[], int],
    limit_s: float,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Whether nothing has run for ``SETTLED_S``, before ``limit_s`` were over."""
    deadline = now() + limit_s
    idle_since: float | None = None
    while True:
        if active() > 0:
            idle_since = None
        elif idle_since is None:
            idle_since = now()
        if idle_since is not None and now() - idle_since >= SETTLED_S:
            return True
        if now() >= deadline:
            return False
        sleep(INTERVAL_S)


def main(arguments: list[str]) -> int:
    """0 in any case but wrong usage: whatever still runs, the kubelet goes on with SIGTERM."""
    try:
        (seconds,) = map(float, arguments)
        port = int(os.environ.get("EXECUTOR_PORT") or _DEFAULT_PORT)
    except ValueError:
        print("usage: EXECUTOR_PORT=8080 python -m executor_runtime.drain SECONDS", file=sys.stderr)
        return 2
    wait_until_idle(lambda: count_active(port), seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
