"""Makes one attempt and says what came of it; the same steps for the whole and for the weakened executor."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Final

from contracts.executor_api import Language
from tests.security.attempts.executor import Executor, make_id
from tests.security.attempts.honest import CODE, WITHIN_S, Honest
from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.world import World

_SHOWN_CHARS: Final = 2000
_HONEST_PAUSE_S: Final = 0.3


@dataclass
class Performance:
    """What one attempt did."""

    effect: bool
    honest: list[str] = field(default_factory=list)
    """What was wrong with the honest executions beside it; one line each."""
    harm: list[str] = field(default_factory=list)
    """What was wrong with the executor afterwards."""
    shown: str = ""
    """Its result, shortened, for people."""
    elapsed_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """For the way out of the stage."""
        return asdict(self)


async def perform(world: World, executor: Executor, attempt: Attempt, beside: Language | None) -> Performance:
    """Makes the attempt and what comes after it, each step with an honest execution in language ``beside``."""
    world.reset()
    began = time.monotonic()
    complaints: list[str] = []
    async with world.knocker:
        for step in (attempt, *attempt.then):
            attempting = asyncio.create_task(executor.attempt(step))
            if beside is not None:
                complaints += await _stay_honest(executor, beside, attempting)
            outcome = await attempting
    world.executions = await executor.list_executions()
    effect = bool(await asyncio.to_thread(attempt.effect, world, outcome))  # it may wait; the Control Plane goes on
    return Performance(
        effect, complaints, await _find_harm(executor), _shown(outcome), round(time.monotonic() - began, 3)
    )


async def _stay_honest(executor: Executor, language: Language, attempting: asyncio.Task[Outcome]) -> list[str]:
    """Honest executions from the attempt's start to its end; what was wrong with them."""
    complaints = await _run_honest(executor, language)
    while not (await asyncio.wait({attempting}, timeout=_HONEST_PAUSE_S))[0]:
        complaints += await _run_honest(executor, language)
    return complaints


async def _run_honest(executor: Executor, language: Language) -> list[str]:
    random = Random()
    honest = Honest(language, tuple(random.randrange(1000) for _ in range(20)))
    began = time.monotonic()
    fields = {"event": {"numbers": honest.numbers}, "timeout": 30}
    result = await executor.execute(language, CODE[language], make_id(), fields)
    elapsed_s = time.monotonic() - began
    complaints = []
    if result["status"] != "success" or result["return_value"] != honest.expected:
        complaints.append(f"honest {language} should give {honest.expected} and gave {_short(result)}")
    if elapsed_s > WITHIN_S:
        complaints.append(f"honest {language} took {elapsed_s:.1f} s")
    return complaints


async def _find_harm(executor: Executor) -> list[str]:
    harm = []
    if not await executor.healthy():
        harm.append("the executor is not healthy, or its other execution has ended")
    harm += [f"the executor's log shows the secret {name}" for name in executor.told_in_logs()]
    return harm


def _shown(outcome: Outcome) -> str:
    files = {path: body[:100] for path, body in list(outcome.artifacts.items())[:5]}
    return f"{_short(outcome.result)} {files or ''}"


def _short(result: Mapping[str, Any]) -> str:
    fields = ("status", "reason", "exit_code", "return_value", "stdout", "stderr")
    text = " ".join(f"{name}={result.get(name)!r}" for name in fields)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
