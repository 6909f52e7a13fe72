"""What a run says in the end."""

from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.evidence import Evidence

_SHOWN = 500


@dataclass(frozen=True)
class Done:
    """A fault, from when to when (Unix seconds)."""

    name: str
    begun: float
    ended: float


@dataclass
class Report:
    """What was done, and what came of it."""

    seconds: float
    faults: list[Done]
    evidence: Evidence
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        found = self.evidence
        counted = Counter(fault.name for fault in self.faults)
        phases = Counter(final.phase for final in found.finals)
        lasted = [final.finished_at - final.created_at for final in found.finals if final.finished_at]
        retried = sum(final.attempt > 1 for final in found.finals)
        lines = [
            f"{len(self.faults)} faults on {len(found.finals)} Executions in {self.seconds:.0f} s",
            *(f"  {count:4d} × {name}" for name, count in sorted(counted.items())),
            "  ended: " + ", ".join(f"{phase} {count}" for phase, count in sorted(phases.items())),
            f"  {len(found.starts)} start marks, {retried} Executions with more than one attempt,"
            f" the slowest ended {max(lasted, default=0):.0f} s after its creation",
            f"  {len(found.writes)} status writes, {len(found.told)} results told,"
            f" {len(found.ended_containers)} containers ended, {len(found.removals)} Executions removed",
            "  held, before and after: "
            + ", ".join(f"{what} {count} {found.after.get(what, 0)}" for what, count in sorted(found.before.items())),
            *(f"  BROKEN: {line}" for line in self.violations[:_SHOWN]),
            f"{len(self.violations)} promises broken",
        ]
        return "\n".join(lines)
