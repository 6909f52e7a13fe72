"""A run in a cgroup of its own: in a kernel whose cgroups are v2, with the executor as unprivileged as in a pod.

``in_cgroup`` is what runs there. What stays untried is a Kubernetes node whose runtime makes cgroups writable.
"""

import json
from typing import Any

import pytest

from tests.security.usermode import can_run, run_in_kernel

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(700)]  # the first one waits for a kernel's whole life

if can_run():

    @pytest.fixture(scope="module")
    def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
        """What was seen there, all of it in one boot."""
        return run_in_kernel("tests.security.in_cgroup", tmp_path_factory.mktemp("kernel"))

    def test_the_executor_takes_its_cgroup_over(seen: dict[str, Any]) -> None:
        assert (seen["enforcement"], seen["shortfall"]) == ("cgroup", "")
        assert seen["own"] == "0::/executor\n"
        assert seen["weight"] == "1000\n"

    def test_what_an_earlier_executor_left_is_ended_and_removed(seen: dict[str, Any]) -> None:
        assert seen["left"] == [-9, []]

    def test_the_first_instruction_is_in_the_runs_cgroup(seen: dict[str, Any]) -> None:
        run = seen["first_instruction"]
        assert run["exit_code"] == 0, run
        where, descriptors = json.loads(run["returned"])
        assert where.startswith("0::/../run-")
        assert descriptors == [0, 1, 2, 3]  # not the gate's

    def test_user_code_waits_until_it_is_placed(seen: dict[str, Any]) -> None:
        placement = seen["placement"]
        assert placement["run"]["exit_code"] == 0, placement
        assert float(placement["run"]["returned"]) > placement["placed_at"]

    def test_the_cgroup_has_the_runs_limits(seen: dict[str, Any]) -> None:
        settings = seen["placement"]["settings"]
        assert settings.pop("memory.swap.max", "0") == "0"  # a kernel without swap has none
        assert settings == {"memory.max": str(64 << 20), "memory.oom.group": "1", "pids.max": "21"}

    def test_what_cannot_be_placed_does_not_run(seen: dict[str, Any]) -> None:
        run = seen["failed_placement"]
        assert (run["ending"], run["failure"]) == ("failed", "it cannot be put into a cgroup: Device or resource busy")
        assert run["files"] == []

    @pytest.mark.parametrize("what", ["memory", "sockets"])
    def test_the_kernel_ends_a_run_over_its_memory_and_no_neighbour(seen: dict[str, Any], what: str) -> None:
        """Buffers of sockets are memory that no look at processes sees."""
        bomb, honest = seen[what]["bomb"], seen[what]["honest"]
        assert bomb["ending"] == "memory_limit", bomb
        assert bomb["cpu_time_s"] > 0
        assert (honest["exit_code"], honest["returned"]) == (0, '"fine"'), honest

    def test_processes_are_bounded_and_ended(seen: dict[str, Any]) -> None:
        assert seen["processes"]["returned"] == "[19, 11]"
        """In time, by the best of three tries."""
        assert seen["endless"]["ending"] == "timed_out"
        assert seen["endless"]["duration_s"] < 10

    def test_nothing_is_left(seen: dict[str, Any]) -> None:
        assert seen["left_at_the_end"] == []
