"""A run that the old leader did not live to write down is known to whoever stood by."""

from dataclasses import replace
from datetime import datetime, timedelta

from contracts.pool import PoolContainer
from controller.containers import ContainerRuns
from controller.resources import Pod
from controller.witness import Witness
from tests.unit.controller.builders import NOW, make_pool
from tests.unit.controller.test_containers import Seen, ended, running


class Standby(Seen):
    """A process that stands by, and then leads."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.witness = Witness(self.read_time)

    def read_time(self) -> datetime:
        return self.now

    def see(self, pod: Pod, *, gone: bool = False, after_s: float = 1.0) -> None:
        self.now += timedelta(seconds=after_s)
        self.witness.see(pod, gone=gone)

    def lead(self, *listed: Pod) -> ContainerRuns:
        """In the order of the application."""
        self.witness.testify(self.runs)
        for pod in listed:
            self.runs.see(pod, pod.ready)
        self.runs.listed({pod.uid for pod in listed})
        return self.runs


def test_a_container_whose_pod_came_and_went_while_nobody_led_is_told() -> None:
    standby = Standby()
    standby.see(running())
    standby.see(running(state=ended(exitCode=143), phase="Failed"), gone=True)
    standby.lead()
    assert standby.words == ["a ready", "a sigterm 143"]


def test_a_container_that_was_replaced_while_nobody_led_is_told() -> None:
    standby = Standby()
    standby.see(running("a"))
    standby.see(running("b", 1, lastState=ended("a", exitCode=137)))
    standby.lead(running("c", 2, lastState=ended("b", exitCode=1)))
    assert standby.words == ["a ready", "a sigkill 137", "b ready", "b error 1", "c ready"]


def test_what_the_old_leader_has_written_is_not_begun_anew() -> None:
    standby = Standby()
    row = PoolContainer(
        pod_name="pod-1", pod_uid=running().uid, container_id="a", port=8080, ready_time=NOW, reported="Ready"
    )
    pool = make_pool()
    standby.runs.restore(replace(pool, status=pool.status.model_copy(update={"containers": [row]})))
    standby.see(running("a"))
    standby.lead(running("a"))
    assert standby.words == []


def test_what_was_long_ago_is_the_old_leaders() -> None:
    standby = Standby()
    standby.see(running())
    standby.see(running(), gone=True)
    standby.see(running("z"), after_s=31)
    standby.lead(running("z"))
    assert standby.words == ["z ready"]
