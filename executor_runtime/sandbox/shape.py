"""What a sandbox must have been started for, to be given a job: all else of a job comes with the job itself."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

from contracts.executor_api import Language
from executor_runtime.sandbox.model import Limits

WAITING: Final[Language] = "javascript"
"""The language whose interpreter can be started ahead (``init.start_ahead``): it comes to open its code's file, and
notices nothing when that is a pipe."""


@dataclass(frozen=True)
class Program:
    """An interpreter that waits. It has read its environment and been bounded before there was a job."""

    language: Language
    limits: Limits


@dataclass(frozen=True)
class Shape:
    """Of a sandbox, and what a job asks for."""

    tmp_bytes: int
    program: Program | None = None
    """None: process 1 starts what the job's language needs."""

    @classmethod
    def without_program(cls, limits: Limits) -> Self:
        """In which a job of any language can run."""
        return cls(limits.tmp_bytes)

    @classmethod
    def with_program(cls, language: Language, limits: Limits, env: Mapping[str, str]) -> Self | None:
        """In which this one can run at once, and nothing of it be another than in a new one; None: there is none.

        An interpreter reads some variables only when it starts, and others whenever it likes: with any there is none.
        """
        if language != WAITING or env:
            return None
        # What is watched from outside may differ.
        bounds = replace(limits, workspace_bytes=0, workspace_entries=0)
        return cls(limits.tmp_bytes, Program(language, bounds))
