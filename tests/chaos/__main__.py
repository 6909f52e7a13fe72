"""``python -m tests.chaos --minutes 10 --seed 1``: the long run; exits 1 when a promise was broken."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.processes.world import open_world
from tests.chaos.report import Report
from tests.chaos.run import Plan, run


def main() -> int:
    """Runs, prints the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=10)
    length.add_argument("--once", action="store_true", help="every fault one time, two beside each other")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--per-second", type=float, default=4)
    parser.add_argument("--only", nargs="*", default=(), help="names of faults")
    parser.add_argument("--keep", action="store_true", help="leaves the logs where they are")
    options = parser.parse_args()
    seconds = None if options.once else options.minutes * 60
    plan = Plan(seconds, options.seed, options.per_second, tuple(options.only))
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.chmod(0o755)
    print(f"seed {options.seed}, logs in {folder}", flush=True)
    try:
        report = asyncio.run(_run(folder, plan))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(report)
    return 1 if report.violations else 0


async def _run(folder: Path, plan: Plan) -> Report:
    async with open_world(folder) as world:
        return await run(world, plan)


if __name__ == "__main__":
    sys.exit(main())
