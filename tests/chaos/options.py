"""The command line that both worlds share."""

import argparse
import time

from tests.chaos.run import Plan


def add_options(parser: argparse.ArgumentParser, per_second: float) -> None:
    """``per_second``: how many Executions this world can take."""
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=10)
    length.add_argument("--once", action="store_true", help="every fault one time, two beside each other")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--per-second", type=float, default=per_second, help="Executions that are created")
    parser.add_argument("--only", nargs="*", default=(), help="names of faults")


def make_plan(options: argparse.Namespace) -> Plan:
    """What they ask for."""
    seconds = None if options.once else options.minutes * 60
    return Plan(seconds, options.seed, options.per_second, tuple(options.only))
