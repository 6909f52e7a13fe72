"""``python -m tests.chaos --minutes 10 --seed 1``: the long run; exits 1 when a promise was broken."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.options import add_options, make_plan, see_through
from tests.chaos.processes.world import open_world
from tests.chaos.report import Report
from tests.chaos.run import Plan, run


def main() -> int:
    """Runs, prints the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, per_second=4)
    parser.add_argument("--keep", action="store_true", help="leaves the logs where they are, also when all went well")
    parser.add_argument("--bugs", action="store_true", help="with known bugs put in, which it has to find")
    options = parser.parse_args()
    plan = make_plan(options)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.chmod(0o755)
    print(f"seed {plan.seed}, logs in {folder}", flush=True)
    report = see_through(_run(folder, plan, options.bugs))
    if not options.keep and not report.violations:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if report.violations else 0


async def _run(folder: Path, plan: Plan, spoiled: bool) -> Report:
    async with open_world(folder, spoiled=spoiled) as world:
        report = await run(world, plan)
        print(report, flush=True)
    return report


if __name__ == "__main__":
    sys.exit(main())
