"""``python -m devcluster run -- python -m tests.chaos.kind --minutes 5``: on a kind cluster with two nodes."""

import argparse
import sys

from devcluster.cluster import Cluster
from tests.chaos.kind.installation import CONTROLLER_IMAGE, EXECUTOR_IMAGE, load_images
from tests.chaos.kind.world import open_world
from tests.chaos.options import add_options, make_plan, see_through
from tests.chaos.report import Report
from tests.chaos.run import Plan, run


def main() -> int:
    """Runs, prints the report; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, per_second=2)
    parser.add_argument("--loaded", action="store_true", help="the nodes have the images already")
    options = parser.parse_args()
    plan = make_plan(options)
    cluster = Cluster.current()
    if not options.loaded:
        load_images(cluster, EXECUTOR_IMAGE, CONTROLLER_IMAGE)
    print(f"seed {plan.seed}", flush=True)
    report = see_through(_run(cluster, plan))
    return 1 if report.violations else 0


async def _run(cluster: Cluster, plan: Plan) -> Report:
    async with open_world(cluster) as world:
        report = await run(world, plan)
        print(report, flush=True)
    return report


if __name__ == "__main__":
    sys.exit(main())
