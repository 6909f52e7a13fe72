"""An Execution against a Kubernetes Job that prints the same line: creation to end, as a watcher sees it.

Both run one at a time on the same cluster in the same run, in turn, so that a noisy machine disturbs both.
Prints medians and their ratio, and writes every sample as JSON to ``benchmarks/results/``.
"""

import argparse
import json
import secrets
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch

from contracts.kube import EXECUTION_PLURAL, GROUP, VERSION

Object = dict[str, Any]
RESULTS = Path(__file__).parent / "results"
GOAL = 20
"""How many times faster an Execution must be at the median."""


@dataclass(frozen=True)
class Samples:
    """Seconds from the create call to the watch event that shows the end."""

    execution_s: list[float]
    job_s: list[float]

    @property
    def ratio(self) -> float:
        """How many times faster the median Execution is."""
        return statistics.median(self.job_s) / statistics.median(self.execution_s)


def execution(name: str) -> Object:
    """An Execution that prints one line."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Execution",
        "metadata": {"name": name},
        "spec": {"language": "python", "code": "def handler(event):\n    print('hello')\n"},
    }


def job(name: str, image: str) -> Object:
    """A Job that prints the same line with the same interpreter."""
    container = {
        "name": "hello",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-I", "-S", "-c", "print('hello')"],
    }
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": template},
    }


def ended(thing: Object) -> bool:
    """Whether a Job or an Execution shows its good end."""
    conditions = thing.get("status", {}).get("conditions", [])
    return any(c["type"] in ("Succeeded", "Complete") and c["status"] == "True" for c in conditions)


@dataclass(frozen=True)
class Kind:
    """One kind of object: its collection, and how to make one."""

    group: str
    version: str
    plural: str
    build: Callable[[str], Object]

    def time_one(self, api: Any, namespace: str) -> float:
        """Seconds from create to the watch event of the end."""
        name = f"{self.plural[:-1]}-{secrets.token_hex(4)}"
        where = (self.group, self.version, namespace, self.plural)
        current = api.list_namespaced_custom_object(*where, limit=1)["metadata"]["resourceVersion"]
        stream = watch.Watch()
        begin = time.perf_counter()
        api.create_namespaced_custom_object(*where, self.build(name))
        for event in stream.stream(
            api.list_namespaced_custom_object, *where, resource_version=current, timeout_seconds=60
        ):
            thing = event["object"]
            if thing["metadata"]["name"] == name and ended(thing):
                stream.stop()
                return time.perf_counter() - begin
        raise TimeoutError(f"{name} has not ended well within 60 s")


def measure(image: str, executions: int, jobs: int) -> Samples:
    """Takes the samples in a namespace of their own, which is deleted afterwards."""
    config.load_config()
    core, api = client.CoreV1Api(), client.CustomObjectsApi()
    namespace = f"bench-{secrets.token_hex(4)}"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=namespace)))
    ours = Kind(GROUP, VERSION, EXECUTION_PLURAL, execution)
    theirs = Kind("batch", "v1", "jobs", lambda name: job(name, image))
    samples = Samples([], [])
    try:
        ours.time_one(api, namespace)
        theirs.time_one(api, namespace)
        for _ in range(jobs):
            samples.execution_s.extend(ours.time_one(api, namespace) for _ in range(executions // jobs))
            samples.job_s.append(theirs.time_one(api, namespace))
    finally:
        core.delete_namespace(namespace)
    return samples


def row(name: str, seconds: list[float]) -> str:
    """One line of the table, in milliseconds."""
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    figures = (ordered[0], statistics.median(ordered), p95, ordered[-1])
    return f"{name:<12}" + "".join(f"{figure * 1000:>10.1f}" for figure in figures) + f"{len(ordered):>6}"


def main() -> None:
    """Measures, prints the table, writes the samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="image of the Job; it needs python3")
    parser.add_argument("--executions", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=10)
    options = parser.parse_args()
    samples = measure(options.image, options.executions, options.jobs)
    print(f"{'create→end':<12}{'min ms':>10}{'p50':>10}{'p95':>10}{'max':>10}{'n':>6}")
    print(row("Execution", samples.execution_s))
    print(row("Job", samples.job_s))
    print(f"ratio of the medians: {samples.ratio:.1f} × (goal: at least {GOAL} ×)")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "execution_against_job.json").write_text(json.dumps(asdict(samples), indent=2))


if __name__ == "__main__":
    main()
