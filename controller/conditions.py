"""Conditions in the metav1 form: a list keyed by type, whose transition time moves only when the status does."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal

from contracts.kube import Condition

ConditionStatus = Literal["True", "False", "Unknown"]
MESSAGE_LENGTH: Final = 4096


def make_condition(
    kind: str, status: ConditionStatus, reason: str, message: str, now: datetime, generation: int | None = None
) -> Condition:
    """One condition as of ``now``; a longer message than 4,096 characters is cut."""
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message[:MESSAGE_LENGTH],
        last_transition_time=now.replace(microsecond=0),
        observed_generation=generation,
    )


def merge_conditions(current: Iterable[Condition] | None, *updates: Condition) -> list[Condition]:
    """The conditions with the updates put in; ``lastTransitionTime`` stays where the status has not changed."""
    merged = {condition.type: condition for condition in current or ()}
    for update in updates:
        before = merged.get(update.type)
        if before is not None and before.status == update.status:
            update = update.model_copy(update={"last_transition_time": before.last_transition_time})
        merged[update.type] = update
    return list(merged.values())


def find_condition(conditions: Iterable[Condition] | None, kind: str) -> Condition | None:
    """The condition of this type, if there is one."""
    return next((condition for condition in conditions or () if condition.type == kind), None)
