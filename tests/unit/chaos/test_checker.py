"""The checker finds each kind of defect, and nothing in a run without one."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.checker import check
from tests.chaos.evidence import ContainerRun, Evidence, Final, Outage, Removal, Start, Told, Write

GOOD = "exec_20260115_00000001"
RETRIED = "exec_20260115_00000002"
CANCELLED = "exec_20260115_00000003"
DELETED = "exec_20260115_00000004"
NEIGHBOUR = "exec_20260115_00000005"
SUCCEEDS = frozenset({"Succeeded"})


def make() -> Evidence:
    """A run in which everything went as promised."""
    return Evidence(
        finals=[
            Final("u1", GOOD, "Succeeded", 1, 0, True, 0, 5, 60, expected=SUCCEEDS, session="s", turn=1),
            Final("u2", RETRIED, "Crashed", 2, 1, True, 0, 40, 60, expected=SUCCEEDS, session="s"),
            Final("u3", CANCELLED, "Cancelled", 0, 0, True, 0, 3, 60),
            Final("u4", DELETED, "Running", 1, 0, False, 0, None, 60, present=False, deleted_by_user=True),
            Final("u5", NEIGHBOUR, "Succeeded", 1, 0, True, 0, 2, 60, expected=SUCCEEDS, neighbour=True),
        ],
        starts=[
            Start(GOOD, 1, "pod-1/0"),
            Start(RETRIED, 1, "pod-1/0"),
            Start(RETRIED, 2, "pod-1/1"),
            Start(DELETED, 1, "pod-1/1"),
            Start(NEIGHBOUR, 1, "pod-2/0"),
        ],
        writes=[
            Write("u1", "Running", 1, 1),
            Write("u1", "Succeeded", 1, 5),
            Write("u1", "Succeeded", 1, 6),
            Write("u2", "Running", 1, 2),
            Write("u2", "Pending", 1, 10),
            Write("u2", "Running", 2, 20),
            Write("u2", "Crashed", 2, 40),
            Write("u3", "Cancelled", 0, 3),
        ],
        removals=[Removal("u1", True, 50), Removal("u4", False, 31)],
        told=[
            Told(GOOD, "success", 503, 5),
            Told(GOOD, "success", 201, 6),
            Told(GOOD, "success", 200, 7),
            Told(RETRIED, "crashed", 201, 41),
            Told(CANCELLED, "failed", 201, 4),
            Told(NEIGHBOUR, "success", 201, 3),
        ],
        ended_containers=[ContainerRun("pod-1", "pod-1/0", (0, 20)), ContainerRun("pod-1", "pod-1/1", (20, 40))],
        exited=[
            {"pod_name": "pod-1", "container_id": "pod-1/0"},
            {"pod_name": "pod-1", "container_id": "pod-1/1"},
        ],
        before={"processes": 8, "namespaces": 6, "descriptors": 30},
        after={"processes": 8, "namespaces": 6, "descriptors": 35},
    )


def test_a_run_without_a_defect_is_found_good() -> None:
    assert check(make()) == []


def test_time_in_which_something_was_broken_is_not_counted() -> None:
    evidence = make()
    final(0, finished_at=100.0)(evidence)
    evidence.outages = [Outage(35, 60), Outage(10, 40), Outage(90, 200)]
    assert check(evidence) == []
    evidence.outages = [Outage(-50, 10), Outage(30, 49), Outage(35, 40)]
    assert any("later than 60 s" in line for line in check(evidence))


def test_a_container_that_nobody_could_know_of_need_not_be_told() -> None:
    evidence = make()
    evidence.ended_containers.append(ContainerRun("pod-3", "pod-3/0", None))
    assert check(evidence) == []
    evidence.ended_containers.append(ContainerRun("pod-3", "pod-3/1", (50, 60)))
    assert any("was told 0 times" in line for line in check(evidence))
    evidence.outages = [Outage(45, 55), Outage(51, 80, unwatched=True)]
    assert check(evidence) == []
    evidence.outages = [Outage(51, 59, unwatched=True)]
    assert any("was told 0 times" in line for line in check(evidence))
    evidence.outages = [Outage(55, 80, unwatched=True), Outage(51, 56, unwatched=True)]
    assert check(evidence) == []
    evidence.outages = [Outage(57, 80, unwatched=True), Outage(51, 56, unwatched=True)]
    assert any("was told 0 times" in line for line in check(evidence))


def test_what_the_status_keeps_is_no_other_end_than_the_whole_result_that_was_taken() -> None:
    evidence = make()
    evidence.told[1] = replace(evidence.told[1], end="exit 0")
    evidence.told.append(Told(GOOD, "success", 409, 9, "exit 0", in_part=True))
    assert check(evidence) == []
    for otherwise in (Told(GOOD, "success", 409, 9, "exit 1", in_part=True), Told(GOOD, "success", 409, 9, "exit 0")):
        evidence.told[-1] = otherwise
        assert any("two different ends" in line for line in check(evidence))


def final(number: int, **changes: object) -> Callable[[Evidence], None]:
    def change(evidence: Evidence) -> None:
        evidence.finals[number] = replace(evidence.finals[number], **changes)  # type: ignore[arg-type]

    return change


def retry(evidence: Evidence, **changes: object) -> None:
    """The second Execution is a turn of the first one's session, in the same run of the same executor."""
    final(1, phase="Succeeded", **changes)(evidence)
    evidence.starts[2] = replace(evidence.starts[2], executor_run="pod-1/0")


DEFECTS: dict[str, tuple[Callable[[Evidence], object], str]] = {
    "never ends": (final(0, phase="Running", finished_at=None), "has not ended"),
    "ends too late": (final(0, finished_at=61.0), "later than 60 s"),
    "ends as its code cannot": (final(0, phase="Failed"), "allows only Succeeded"),
    "says what is not true": (final(0, untrue="it returned 2 and not 1"), "returned 2"),
    "a neighbour crashes": (final(4, phase="Crashed"), "where nothing was broken"),
    "one attempt is started twice": (lambda e: e.starts.append(Start(GOOD, 1, "pod-2/0")), "was started 2 times"),
    "an attempt that nobody claimed": (lambda e: e.starts.append(Start(GOOD, 2, "pod-2/0")), "it had only 1"),
    "too many attempts": (final(1, max_retries=0), "2 attempts, with maxRetries 0"),
    "too many attempts are started": (lambda e: e.starts.append(Start(RETRIED, 3, "p")), "3 attempts, with maxRetries"),
    "succeeds without a start": (lambda e: e.starts.pop(0), "no executor has started it"),
    "starts what nobody created": (lambda e: e.starts.append(Start("exec_20260115_0000000x", 1, "p")), "nobody"),
    "a terminal phase changes": (lambda e: e.writes.append(Write("u1", "Crashed", 1, 9)), "was Succeeded and became"),
    "an attempt after the end": (lambda e: e.writes.append(Write("u1", "Succeeded", 2, 9)), "was Succeeded and became"),
    "goes back an attempt": (lambda e: e.writes.insert(6, Write("u2", "Running", 1, 30)), "went back"),
    "claimed over a running one": (lambda e: e.writes.pop(4), "while attempt 1 ran"),
    "two turns of a session at a time": (lambda e: retry(e, turn=1), "2 Executions of session s had turn 1"),
    "never told": (lambda e: e.told.pop(3), "0 effects"),
    "two effects": (lambda e: e.told.append(Told(GOOD, "success", 201, 9)), "2 effects"),
    "told something else": (lambda e: e.told.__setitem__(1, Told(GOOD, "failed", 201, 6)), "was told failed"),
    "told two ends": (lambda e: e.told.append(Told(GOOD, "failed", 409, 9)), "two different ends"),
    "does not say that it was told": (final(0, reported=False), "does not say"),
    "removed before it was told": (lambda e: e.removals.__setitem__(0, Removal("u1", True, 5)), "before the Control"),
    "removed before its end": (lambda e: e.removals.append(Removal("u4", True, 31)), "before it had ended"),
    "an exit that nobody was told of": (lambda e: e.exited.pop(), "was told 0 times"),
    "an exit told twice": (lambda e: e.exited.append(e.exited[0]), "was told 2 times"),
    "an exit of one that runs": (lambda e: e.exited.append({"container_id": "pod-2/0"}), "and it had not"),
    "a process left": (lambda e: e.after.__setitem__("processes", 9), "processes: 8 before, 9 after"),  # type: ignore[index]
    "a namespace left": (lambda e: e.after.__setitem__("namespaces", 7), "namespaces: 6 before"),  # type: ignore[index]
    "descriptors leak": (lambda e: e.after.__setitem__("descriptors", 99), "descriptors: 30 before"),  # type: ignore[index]
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_found(name: str) -> None:
    evidence = make()
    put_in, says = DEFECTS[name]
    put_in(evidence)
    assert any(says in line for line in check(evidence)), check(evidence)
