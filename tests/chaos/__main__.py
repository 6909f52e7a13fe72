"""``python -m tests.chaos --minutes 10 --seed 1``: the long run; exits 1 when a promise was broken."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.run import run


def main() -> int:
    """Runs, prints the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--per-second", type=float, default=4)
    parser.add_argument("--only", nargs="*", help="names of faults")
    parser.add_argument("--keep", action="store_true", help="leaves the logs where they are")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.chmod(0o755)
    print(f"seed {options.seed}, logs in {folder}", flush=True)
    try:
        report = asyncio.run(run(folder, options.minutes * 60, options.seed, options.per_second, options.only))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(report)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
