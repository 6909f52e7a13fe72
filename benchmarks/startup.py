"""How long it takes until something can run: imports, and an executor's start until the Control Plane hears of it.

Beside the bare interpreter of the same run. ``--images`` adds the sizes of the images that ``make images`` has built.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from devcluster.buildah import Buildah
from devcluster.layout import Layout
from tests.fakes.control_plane import FakeControlPlane
from tests.integration.executor.running import RunningExecutor, open_directory

RESULTS: Final = Path(__file__).with_name("results")
IMPORTED: Final = ("executor_runtime.process", "controller.__main__", "sandbox_executor_client")
IMAGES: Final = ("sandbox-executor/executor:dev", "sandbox-executor/controller:dev")


def time_import(module: str) -> float:
    """Milliseconds of an interpreter that imports it and ends; of a bare one where it is empty."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}" if module else "pass"], check=True)
    return (time.perf_counter() - begun) * 1000


async def time_start() -> float:
    """Milliseconds from an executor's start to ``container_ready`` at the Control Plane."""
    with open_directory() as directory:
        async with FakeControlPlane() as control_plane:
            settings = {"CONTROL_PLANE_URL": control_plane.url, "INTERNAL_API_TOKEN": "of-this-benchmark"}
            executor = RunningExecutor(directory, settings)
            try:
                (ready,) = await control_plane.wait_for("ready", timeout_s=30)
                return (ready.at - executor.started_at) * 1000
            finally:
                await asyncio.to_thread(executor.close)


def read_image_sizes() -> dict[str, float]:
    """Megabytes, uncompressed, of those of our images that were built here."""
    words = [*Buildah(Layout.of().cache).command, "images", "--json"]
    listed = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    names = {name.removeprefix("localhost/"): image["size"] for image in listed for name in image.get("names") or []}
    return {name: float(str(names[name]).split()[0]) for name in IMAGES if name in names}


async def measure(count: int) -> dict[str, list[float]]:
    """Samples in milliseconds by what was started; the kinds take turns."""
    samples: dict[str, list[float]] = {name: [] for name in ("bare interpreter", *IMPORTED, "container_ready")}
    for _ in range(count):
        samples["bare interpreter"].append(time_import(""))
        for module in IMPORTED:
            samples[module].append(time_import(module))
        samples["container_ready"].append(await time_start())
    return samples


def describe(samples: Mapping[str, list[float]]) -> str:
    """A line each, with its ratio to the bare interpreter."""
    floor = statistics.median(samples["bare interpreter"])
    lines = [f"{'':<26}{'min':>8}{'median':>8}{'max':>8} ms   to the floor"]
    for name, values in samples.items():
        median = statistics.median(values)
        lines.append(f"{name:<26}{min(values):>8.0f}{median:>8.0f}{max(values):>8.0f} {median / floor:>12.1f} ×")
    return "\n".join(lines)


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--images", action="store_true")
    options = parser.parse_args()
    samples = asyncio.run(measure(options.count))
    sizes = read_image_sizes() if options.images else {}
    print(describe(samples))
    for name, size in sizes.items():
        print(f"{name}: {size:.0f} MB")
    RESULTS.mkdir(exist_ok=True)
    result = {"milliseconds": samples, "image_megabytes": sizes}
    (RESULTS / "startup.json").write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
