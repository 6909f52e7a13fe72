"""For who writes attempts: ``python -m tests.security.attempts MODULE [NAME…] [--level L] [--proof]``.

Makes a module's attempts, or those whose names begin so, at one level, and prints what came of each. With ``--proof``
it makes them against executors without the protections that they name: there each must have its effect.
"""

import argparse
import contextlib
from collections.abc import Sequence

from contracts.executor_api import Language
from tests.security.attempts import catalogue
from tests.security.attempts.honest import in_turn
from tests.security.attempts.model import BOTH, Attempt
from tests.security.attempts.stage import ROOT_ONLY, Stage


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", choices=catalogue.MODULES)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--level", choices=BOTH, default="full")
    parser.add_argument("--proof", action="store_true")
    asked = parser.parse_args()
    attempts = [
        attempt
        for attempt in sorted(
            catalogue.load(asked.module), key=lambda attempt: sorted(attempt.without if asked.proof else ())
        )
        if not asked.names or any(attempt.name.startswith(name) for name in asked.names)
    ]
    stages: dict[bool, Stage] = {}
    with contextlib.ExitStack() as opened:
        for attempt, language in zip(attempts, in_turn(), strict=False):
            without = attempt.without if asked.proof else ()
            if asked.proof and not without:
                continue
            as_root = ROOT_ONLY in without
            if as_root not in stages:
                stages[as_root] = opened.enter_context(Stage(asked.level, as_root))
            _make(stages[as_root], asked.module, attempt, without, None if asked.proof else language)


def _make(stage: Stage, module: str, attempt: Attempt, without: Sequence[str], beside: Language | None) -> None:
    try:
        seen = stage.make(module, attempt.name, beside, without)
    except RuntimeError as error:
        print(f"{attempt.name}: {error}")
        return
    good = seen.effect if without else not (seen.effect or seen.honest or seen.harm)
    print(f"{'good' if good else 'BAD '} {attempt.name} {','.join(without)} ({seen.elapsed_s} s)")
    for line in (*seen.honest, *(() if without else seen.harm), seen.shown):
        print(f"     {line}")


if __name__ == "__main__":
    main()
