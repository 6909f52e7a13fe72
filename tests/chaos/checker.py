"""Says what is wrong in the evidence of a run; nothing when every promise was kept.

Pure, and proved on evidence with a defect put in (``tests/unit/chaos/test_checker.py``).
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final as Constant

from tests.chaos.evidence import ContainerRun, Evidence, Final, Write

TERMINAL: Constant = frozenset({"Succeeded", "Failed", "TimedOut", "Crashed", "Cancelled", "Rejected"})
STATUS_OF: Constant = {
    "Succeeded": {"success"},
    "Failed": {"failed"},
    "TimedOut": {"timeout"},
    "Crashed": {"crashed"},
    "Cancelled": {"failed"},
    "Rejected": {"failed"},
}
_NOTED_S: Constant = 3.0
"""Within which a leader writes down that a container runs."""
_SLACK: Constant = {"descriptors": 20}
"""By how much a count may have grown: connections that are kept open are no leak."""


def check(evidence: Evidence) -> list[str]:
    """One line for each broken promise."""
    return [
        *_check_ends(evidence),
        *_check_starts(evidence),
        *_check_phases(evidence),
        *_check_sessions(evidence),
        *_check_control_plane(evidence),
        *_check_removals(evidence),
        *_check_containers(evidence),
        *_check_residue(evidence),
    ]


def _check_ends(evidence: Evidence) -> Iterator[str]:
    for final in evidence.finals:
        if final.deleted_by_user and not final.present:
            continue
        if final.phase not in TERMINAL:
            yield f"{final.execution_id} has not ended: {final.phase or 'no phase'}"
        elif final.finished_at is None or _waited_s(evidence, final.created_at, final.finished_at) > final.bound_s:
            yield f"{final.execution_id} ended later than {final.bound_s:g} s after its creation, outages not counted"
        elif final.expected and final.phase not in final.expected | {"Crashed"}:
            yield f"{final.execution_id} is {final.phase}, and its code allows only {', '.join(sorted(final.expected))}"
        elif final.neighbour and final.phase not in final.expected:
            yield f"{final.execution_id} is {final.phase}, and ran where nothing was broken"
        if final.untrue:
            yield f"{final.execution_id} says what is not true: {final.untrue}"


def _waited_s(evidence: Evidence, begun: float, ended: float) -> float:
    """Seconds between the two in which nothing was broken."""
    waited, at = 0.0, begun
    for outage in sorted(evidence.outages, key=lambda outage: outage.begun):
        waited += max(min(outage.begun, ended) - at, 0)
        at = min(max(at, outage.ended), ended)
    return waited + ended - at


def _check_starts(evidence: Evidence) -> Iterator[str]:
    marks = Counter((start.execution_id, start.attempt) for start in evidence.starts)
    for (execution_id, attempt), count in marks.items():
        if count > 1:
            yield f"attempt {attempt} of {execution_id} was started {count} times"
    highest: dict[str, int] = {}
    for start in evidence.starts:
        highest[start.execution_id] = max(start.attempt, highest.get(start.execution_id, 0))
    for final in evidence.finals:
        begun = highest.get(final.execution_id, 0)
        if max(final.attempt, begun) > 1 + final.max_retries:
            attempts = max(final.attempt, begun)
            yield f"{final.execution_id} had {attempts} attempts, with maxRetries {final.max_retries}"
        if begun > final.attempt:
            yield f"attempt {begun} of {final.execution_id} was started, and it had only {final.attempt}"
        if final.phase in ("Succeeded", "Failed", "TimedOut") and (final.execution_id, final.attempt) not in marks:
            yield f"{final.execution_id} is {final.phase}, and no executor has started it"
    known = {final.execution_id for final in evidence.finals}
    for execution_id in highest.keys() - known:
        yield f"{execution_id} was started, and nobody has created it"


def _check_phases(evidence: Evidence) -> Iterator[str]:
    by_uid: dict[str, list[Write]] = defaultdict(list)
    for write in evidence.writes:
        by_uid[write.uid].append(write)
    for uid, writes in by_uid.items():
        for before, after in zip(writes, writes[1:], strict=False):
            if before.phase in TERMINAL and (after.phase, after.attempt) != (before.phase, before.attempt):
                yield f"{uid} was {before.phase} and became {after.phase}"
            elif after.attempt < before.attempt:
                yield f"{uid} went back from attempt {before.attempt} to {after.attempt}"
            elif (before.phase, after.phase) == ("Running", "Running") and before.attempt != after.attempt:
                yield f"{uid} was claimed for attempt {after.attempt} while attempt {before.attempt} ran"


def _check_sessions(evidence: Evidence) -> Iterator[str]:
    """Each turn of a session counts up what the one before has left: two at a time would give the same number."""
    place = {(start.execution_id, start.attempt): start.executor_run for start in evidence.starts}
    turns = Counter(
        (final.session, place.get((final.execution_id, final.attempt), ""), final.turn)
        for final in evidence.finals
        if final.session and final.turn is not None
    )
    for (session, run, turn), count in turns.items():
        if count > 1:
            yield f"{count} Executions of session {session} had turn {turn} on {run or 'no executor'}"


def _check_control_plane(evidence: Evidence) -> Iterator[str]:
    if not evidence.relayed:
        return
    effects: dict[str, list[str]] = defaultdict(list)
    ends: dict[str, str] = {}
    for told in evidence.told:
        if told.answered == 201:
            effects[told.execution_id].append(told.status)
            ends[told.execution_id] = told.end
        elif told.answered == 409 and not (told.in_part and ends.get(told.execution_id) == told.end):
            # Else it had the whole result; who told it died before the answer came, and the executor that held it too.
            yield f"the Control Plane was told two different ends of {told.execution_id}"
    for final in evidence.finals:
        if final.deleted_by_user:
            continue  # what it hears of those is best effort
        statuses = effects[final.execution_id]
        if len(statuses) != 1:
            yield f"{final.execution_id} had {len(statuses)} effects at the Control Plane"
        elif statuses[0] not in STATUS_OF.get(final.phase, set()):
            yield f"{final.execution_id} is {final.phase}, and the Control Plane was told {statuses[0]}"
        if not final.reported:
            yield f"{final.execution_id} does not say that it was reported"


def _check_removals(evidence: Evidence) -> Iterator[str]:
    heard = {told.execution_id: told.at for told in reversed(evidence.told) if told.answered in (200, 201, 404, 409)}
    ids: dict[str, Final] = {final.uid: final for final in evidence.finals}
    for removal in evidence.removals:
        final = ids.get(removal.uid)
        if not removal.by_controller or final is None:
            continue
        if final.phase not in TERMINAL:
            yield f"{final.execution_id} was removed before it had ended"
        elif evidence.relayed and heard.get(final.execution_id, float("inf")) > removal.at:
            yield f"{final.execution_id} was removed before the Control Plane had heard of it"


def _check_containers(evidence: Evidence) -> Iterator[str]:
    if not evidence.relayed:
        return
    told = Counter(str(body.get("container_id", "")) for body in evidence.exited)
    ended = {run.container_id: run for run in evidence.ended_containers}
    for body in evidence.exited:
        if str(body.get("container_id", "")) not in ended:
            yield f"the Control Plane was told that a container of pod {body.get('pod_name')} ended, and it had not"
    for container_id, run in ended.items():
        times = told[container_id]
        if times > 1 or (times == 0 and _was_seen(evidence, run)):
            yield f"container {container_id} of pod {run.pod} ended, and the Control Plane was told {times} times"


def _was_seen(evidence: Evidence, run: ContainerRun) -> bool:
    """Whether a controller can have known of it: one that came and went while none was there, or none could read or
    write anything, is known to nobody."""
    if run.shown is None:
        return False
    begun, ended = run.shown
    return not any(since - _NOTED_S <= begun and ended <= until for since, until in _unwatched(evidence))


def _unwatched(evidence: Evidence) -> list[tuple[float, float]]:
    """Spans; outages that meet are one."""
    spans: list[tuple[float, float]] = []
    for since, until in sorted((outage.begun, outage.ended) for outage in evidence.outages if outage.unwatched):
        if spans and since <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(until, spans[-1][1]))
        else:
            spans.append((since, until))
    return spans


def _check_residue(evidence: Evidence) -> Iterator[str]:
    for what in sorted(evidence.before.keys() | evidence.after.keys()):
        before, after = evidence.before.get(what, 0), evidence.after.get(what, 0)
        if after > before + _SLACK.get(what, 0):
            yield f"{what}: {before} before, {after} after"
