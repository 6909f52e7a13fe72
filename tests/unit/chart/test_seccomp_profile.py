"""The node's seccomp profile answers every call as the table in ``deploy/seccomp`` says, on both architectures."""

import json
from pathlib import Path

import pyseccomp
import pytest

from deploy.seccomp.calls import ALLOWED, REFUSED
from deploy.seccomp.profile import CHART_FILE, SANDBOX_BUILDING, build_profile, render_profile
from tests.unit.chart.oci_seccomp import (
    AARCH64,
    ALLOW,
    I386,
    KILL_THREAD,
    X32_BIT,
    X86_64,
    answer,
    build_filter,
    errno_answer,
    export_program,
)

REPOSITORY = Path(__file__).resolve().parents[3]
NEWER_THAN_LIBSECCOMP = {"futex_requeue", "futex_wait", "futex_wake", "map_shadow_stack", "mseal"}
"""Linux 6.6 and later: libseccomp before 2.6 does not know them, nor does it then let them through."""

ALLOWED_NAMES = sorted({name for category in ALLOWED for name in category.names} | set(SANDBOX_BUILDING))
ARCHITECTURES = [(X86_64, pyseccomp.Arch.X86_64), (AARCH64, pyseccomp.Arch.AARCH64)]

Program = list[tuple[int, int, int, int]]


@pytest.fixture(scope="module")
def program() -> Program:
    return export_program(build_filter(json.loads((REPOSITORY / CHART_FILE).read_text())))


def call_number(arch: int, name: str) -> int:
    """The call's number; negative when this architecture has no such call."""
    return int(pyseccomp.resolve_syscall(arch, name))


def test_chart_holds_what_the_table_makes() -> None:
    assert (REPOSITORY / CHART_FILE).read_text() == render_profile(), "run: python -m deploy.seccomp.profile"


def test_every_name_is_a_system_call_of_x86_64_or_aarch64() -> None:
    unknown = {
        name
        for name in [*ALLOWED_NAMES, *REFUSED]
        if all(call_number(library, name) < 0 for _, library in ARCHITECTURES)
    }
    assert unknown <= NEWER_THAN_LIBSECCOMP


def test_no_name_stands_twice() -> None:
    names = [name for category in ALLOWED for name in category.names] + list(SANDBOX_BUILDING) + list(REFUSED)
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(("arch", "library"), ARCHITECTURES, ids=["x86_64", "aarch64"])
def test_allowed_calls_pass_and_refused_ones_get_eperm(program: Program, arch: int, library: int) -> None:
    def answers(names: list[str]) -> set[int]:
        numbers = [call_number(library, name) for name in names]
        return {answer(program, arch, number) for number in numbers if number >= 0}

    assert answers(ALLOWED_NAMES) == {ALLOW}
    assert answers(list(REFUSED)) == {errno_answer(1)}


@pytest.mark.parametrize(("arch", "library"), ARCHITECTURES, ids=["x86_64", "aarch64"])
def test_clone3_looks_missing_so_that_libc_falls_back_to_clone(program: Program, arch: int, library: int) -> None:
    assert answer(program, arch, call_number(library, "clone3")) == errno_answer(38)


def test_calls_newer_than_all_named_ones_do_not_pass(program: Program) -> None:
    assert {answer(program, X86_64, number) for number in range(470, 600)} == {errno_answer(1)}


def test_calls_of_32_bit_interfaces_kill(program: Program) -> None:
    assert answer(program, I386, 4) == KILL_THREAD
    assert answer(program, X86_64, X32_BIT | 1) == KILL_THREAD


@pytest.mark.parametrize(
    ("family", "protocol", "allowed"),
    [
        pytest.param(1, 0, True, id="unix"),
        pytest.param(2, 0, True, id="inet"),
        pytest.param(10, 0, True, id="inet6"),
        pytest.param(16, 0, True, id="netlink-route"),
        pytest.param(16, 12, False, id="netlink-netfilter"),
        pytest.param(17, 0, False, id="packet"),
        pytest.param(38, 0, False, id="alg"),
        pytest.param(40, 0, False, id="vsock"),
        pytest.param(44, 0, False, id="xdp"),
        pytest.param(1 << 32 | 38, 0, False, id="alg-with-a-high-bit"),
    ],
)
def test_socket_families(program: Program, family: int, protocol: int, allowed: bool) -> None:
    for arch, library in ARCHITECTURES:
        seen = answer(program, arch, call_number(library, "socket"), family, 2, protocol)
        assert seen == (ALLOW if allowed else errno_answer(1))


def test_personality_cannot_turn_off_address_randomisation(program: Program) -> None:
    number = call_number(pyseccomp.Arch.X86_64, "personality")
    assert answer(program, X86_64, number, 0xFFFFFFFF) == ALLOW
    assert answer(program, X86_64, number, 0x0040000) == errno_answer(1)


def test_profile_has_only_fields_of_the_oci_specification() -> None:
    profile = build_profile()
    assert set(profile) == {"defaultAction", "defaultErrnoRet", "architectures", "syscalls"}
    assert {key for rule in profile["syscalls"] for key in rule} <= {"names", "action", "args", "errnoRet"}
