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
    slow: list[str] = field(default_factory=list)
    """Which of them took too long."""
    harm: list[str] = field(default_factory=list)
    """What was wrong with the executor afterwards."""
    late: bool = False
    """The effect is that the answer came too late, and nothing else."""
    shown: str = ""
    """Its result, shortened, for people."""
    elapsed_s: float = 0.0

    @property
    def is_only_late(self) -> bool:
        """Something is wrong, and a machine that was busy may be why."""
        return bool(self.slow or self.late) and not (self.honest or self.harm or (self.effect and not self.late))

    def as_json(self) -> dict[str, Any]:
        """For the way out of the stage."""
        return asdict(self)


async def perform(world: World, executor: Executor, attempt: Attempt, beside: Language | None) -> Performance:
    """Makes the attempt and what comes after it, each step with an honest execution in language ``beside``."""
    world.reset()
    began = time.monotonic()
    done = Performance(effect=False)
    async with world.knocker:
        for step in (attempt, *attempt.then):
            attempting = asyncio.create_task(executor.attempt(step))
            if beside is not None:
                await _stay_honest(executor, beside, attempting, done)
            outcome = await attempting
    world.executions = await executor.list_executions()
    done.effect = bool(await asyncio.to_thread(attempt.effect, world, outcome))  # may wait; the Control Plane goes on
    done.late = world.late
    done.harm = await _find_harm(executor)
    done.shown, done.elapsed_s = _shown(outcome), round(time.monotonic() - began, 3)
    return done


async def _stay_honest(
    executor: Executor, language: Language, attempting: asyncio.Task[Outcome], done: Performance
) -> None:
    """Honest executions from the attempt's start to its end; what was wrong with them is added."""
    await _run_honest(executor, language, done)
    while not (await asyncio.wait({attempting}, timeout=_HONEST_PAUSE_S))[0]:
        await _run_honest(executor, language, done)


async def _run_honest(executor: Executor, language: Language, done: Performance) -> None:
    random = Random()
    honest = Honest(language, tuple(random.randrange(1000) for _ in range(20)))
    began = time.monotonic()
    fields = {"event": {"numbers": honest.numbers}, "timeout": 60}
    result = await executor.execute(language, CODE[language], make_id(), fields)
    elapsed_s = time.monotonic() - began
    if result["status"] != "success" or result["return_value"] != honest.expected:
        done.honest.append(f"honest {language} should give {honest.expected} and gave {_short(result)}")
    if elapsed_s > WITHIN_S:
        done.slow.append(f"honest {language} took {elapsed_s:.1f} s")


async def _find_harm(executor: Executor) -> list[str]:
    harm = []
    if not await executor.healthy_again():
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
