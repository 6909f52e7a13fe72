"""With each prerequisite taken away or made useless, one at a time, ``strict`` does not start and says what to change.

An option of bwrap that is dropped on the way stands for every reason why it may have no effect: a wrapper, a patched
bwrap, a kernel that does not do what it says. Whoever can put any program in bwrap's place has the executor, and
nothing in it can notice that; the image's root is read-only against that.
"""

import glob
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security import sabotage
from tests.security.probing import REPOSITORY, open_place, probed

pytestmark = pytest.mark.sandbox

RAN = 'returned\n"ran"'
ALLOW_ALL = """
everything = os.memfd_create("filter", 0)
os.write(everything, struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))
os.lseek(everything, 0, os.SEEK_SET)
replace(values_of("--seccomp", 1), ["--seccomp", str(everything)])
"""
NOTICED_AT_BOTH_LEVELS = {
    **{f"{name} namespace shared": sabotage.keep_shared(name) for name in sabotage.NAMESPACES},
    "network shared after all": "argv.insert(argv.index('--unshare-all') + 1, '--share-net')",
    "--die-with-parent": sabotage.drop("--die-with-parent"),
    "--new-session": sabotage.drop("--new-session"),
    "--as-pid-1": sabotage.drop("--as-pid-1"),
    "--cap-drop becomes --cap-add": "replace(['--cap-drop'], ['--cap-add'])",
    "--clearenv": sabotage.drop("--clearenv"),
    "--setenv": sabotage.drop("--setenv", "LANG", "C.UTF-8"),
    "--hostname": sabotage.drop("--hostname", "sandbox"),
    "--chdir": sabotage.drop("--chdir", "/workspace"),
    "--seccomp": sabotage.drop_with_values("--seccomp", 1),
    "a filter that allows everything": ALLOW_ALL,
    "--info-fd": sabotage.drop_with_values("--info-fd", 1),
    "/usr is not there": sabotage.drop("--ro-bind", "/usr", "/usr"),
    "/usr can be written": "replace(['--ro-bind', '/usr'], ['--bind', '/usr'])",
    "/ can be written": sabotage.drop("--remount-ro", "/"),
    "/dev can be written": sabotage.drop("--remount-ro", "/dev"),
    "the machine's devices": "replace(['--dev', '/dev'], ['--dev-bind', '/dev', '/dev'])",
    "no devices": sabotage.drop("--dev", "/dev"),
    "/dev/shm without a size": sabotage.drop_with_values("--size", 1),
    "/tmp without a size": "at = argv.index('/tmp'); del argv[at - 5:at - 1]",
    "/workspace cannot be written": "replace(['--bind'], ['--ro-bind'])",
    "no /workspace": sabotage.drop_with_values("--bind", 2),
    "the machine's files": "replace(['--remount-ro', '/'], ['--ro-bind', '/', '/host', '--remount-ro', '/'])",
    "the machine's /etc": "argv += ['--ro-bind', '/etc', '/etc']",
}
NOTICED_AT_FULL = {
    # Below full it is implied: who is not root gets no other namespace without one of these.
    "no user namespace": "replace(['--unshare-all', '--unshare-user'], ['--unshare-all'])",
    "--disable-userns": sabotage.drop("--disable-userns"),
    "no /proc": sabotage.drop("--proc", "/proc"),
    "the machine's /proc": "replace(['--proc', '/proc'], ['--ro-bind', '/proc', '/proc'])",
}
HARMLESS = {
    "--cap-drop": sabotage.drop("--cap-drop", "ALL"),  # who is not root keeps none in any case
    "--uid": sabotage.drop("--uid", "1000"),  # the executor's own, where that is another, is refused
    "--gid": sabotage.drop("--gid", "1000"),
    "--perms": sabotage.drop("--perms", "1777"),  # there is one user inside
    "/etc/alternatives": "replace(['--ro-bind', '/etc/alternatives'], ['--ro-bind-try', '/no-alternatives'])",
}
"""These lose nothing that holds user code: what they are for is there without them, and the probe sees that it is."""


@pytest.fixture
def place() -> Iterator[Path]:
    with open_place() as path:
        yield path


@pytest.fixture
def tools() -> Iterator[Path]:
    """Where another bwrap stands."""
    with open_place() as path:
        yield path


def refused(mode: str, around: list[str], place: Path, python: str = sys.executable) -> str:
    """The one line."""
    answer = probed(mode, around, place, python=python)
    assert "error" in answer, answer
    assert "\n" not in answer["error"]
    assert len(answer["error"]) < 2000
    return answer["error"]


@pytest.mark.parametrize("mode", ["strict", "best-effort"])
@pytest.mark.parametrize("change", NOTICED_AT_BOTH_LEVELS)
def test_an_option_without_effect_is_noticed(place: Path, tools: Path, change: str, mode: str) -> None:
    error = refused(mode, sabotage.with_wrapper(tools, NOTICED_AT_BOTH_LEVELS[change]), place)
    assert error.startswith("isolation 'full' does not work here: ")
    assert ("isolation 'reduced' does not work here: " in error) is (mode == "best-effort")


@pytest.mark.parametrize("change", NOTICED_AT_FULL)
def test_an_option_of_full_without_effect_is_noticed(place: Path, tools: Path, change: str) -> None:
    around = sabotage.with_wrapper(tools, NOTICED_AT_FULL[change])
    assert "isolation 'full' does not work here: " in refused("strict", around, place)


@pytest.mark.parametrize("change", ["--seccomp", "a filter that allows everything"])
def test_the_nodes_own_profile_does_not_pass_for_the_filter(place: Path, tools: Path, change: str) -> None:
    """In a pod every process has a filter already, and "seccomp mode" alone says nothing."""
    in_pod = ["/usr/bin/env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "tests.security.under_profile"]
    assert probed("strict", in_pod, place) == {"level": "full", "shortfall": "", "returned": RAN}
    error = refused("strict", [*in_pod, *sabotage.with_wrapper(tools, NOTICED_AT_BOTH_LEVELS[change])], place)
    assert "answer to unshare is allowed" in error
    assert "seccomp mode" not in error


@pytest.mark.parametrize("change", HARMLESS)
def test_an_option_that_loses_nothing_is_no_reason_to_refuse(place: Path, tools: Path, change: str) -> None:
    if change == "/etc/alternatives" and not os.path.isdir("/etc/alternatives"):
        pytest.fail("this test is written for a Debian, whose programs lie behind /etc/alternatives")
    answer = probed("strict", sabotage.with_wrapper(tools, HARMLESS[change]), place)
    assert answer == {"level": "full", "shortfall": "", "returned": RAN}


def test_a_wrapper_that_changes_nothing_is_no_reason_to_refuse(place: Path, tools: Path) -> None:
    """The proof that it is the change that is noticed, not the wrapper."""
    answer = probed("strict", sabotage.with_wrapper(tools, ""), place)
    assert answer == {"level": "full", "shortfall": "", "returned": RAN}


@pytest.mark.parametrize(
    ("script", "mode", "says"),
    [
        ("exit 0", 0o755, "gave no answer: this bwrap, or this kernel, does not do what it is told: use an unchanged"),
        (
            "echo '[]'",
            0o755,
            "gave no answer: this bwrap, or this kernel, does not do what it is told: use an unchanged",
        ),
        ('until [ "$1" = -- ]; do shift; done; shift; exec "$@"', 0o755, "namespace is not its own"),
        ("echo 'bwrap: Unknown option --disable-userns' >&2; exit 1", 0o755, "too old: install 0.8 or newer"),
        ("exit 3", 0o755, "ended with 3: neither bwrap nor Python in it says why: use an image"),
        ("exec bwrap", 0o4755, "chmod u-s,g-s"),
        ("exec bwrap", 0o2755, "chmod u-s,g-s"),
        ("exec bwrap", 0o644, "install bubblewrap in the executor's image"),
    ],
)
def test_something_else_in_bwraps_place_is_refused(place: Path, tools: Path, script: str, mode: int, says: str) -> None:
    assert says in refused("strict", sabotage.with_bwrap(tools, f"#!/bin/sh\n{script}\n", mode), place)


def test_a_bwrap_that_is_no_program_is_refused(place: Path, tools: Path) -> None:
    error = refused("strict", sabotage.with_bwrap(tools, "of another machine"), place)
    assert "Exec format error" in error
    assert "install the distribution's bubblewrap" in error


def test_a_bwrap_that_is_missing_is_named(place: Path, tools: Path) -> None:
    assert "install bubblewrap in the executor's image" in refused("strict", sabotage.with_path(tools), place)


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize("call", ["clone", "unshare", "mount", "umount2", "pivot_root", "sethostname"])
def test_a_call_that_the_pods_profile_refuses_is_named_among_those_to_allow(place: Path, call: str, error: str) -> None:
    new_user_namespace = 0x10000000 if call == "clone" else 0
    told = refused("strict", sabotage.refusing((call, error, new_user_namespace)), place)
    advice = told.partition("use a Localhost seccomp profile that allows ")[2]
    assert call in advice


@pytest.mark.parametrize("error", ["EINVAL", "EPERM"])
def test_a_kernel_that_takes_no_filter_is_refused(place: Path, error: str) -> None:
    set_seccomp = 22
    told = refused("best-effort", sabotage.refusing(("prctl", error, set_seccomp)), place)
    assert "CONFIG_SECCOMP_FILTER" in told


def test_a_missing_libseccomp_is_named(place: Path) -> None:
    libraries = [os.path.realpath(path) for path in glob.glob("/usr/lib/*/libseccomp.so.2")]
    hidden = [option for path in libraries for option in ("--ro-bind", "/dev/null", path)]
    assert "install libseccomp2" in refused("best-effort", [*sabotage.OUTER, *hidden], place)


@pytest.mark.parametrize(
    ("replacement", "says"),
    [
        ("", "use an image with a system Python"),
        ("/bin/false", "use an image in which both start by themselves"),
        ("/etc/hostname", "use an image whose Python in /usr starts by itself"),
    ],
)
def test_a_python_that_is_missing_or_broken_is_named(place: Path, replacement: str, says: str) -> None:
    packages = ":".join(path for path in sys.path if path.endswith("site-packages"))
    around = ["/usr/bin/env", f"PYTHONPATH={packages}", *sabotage.without_system_python(replacement)]
    assert says in refused("best-effort", around, place, python=os.path.realpath(sys.executable))


def test_a_workspace_that_cannot_be_written_is_named(place: Path) -> None:
    around = [*sabotage.OUTER, "--ro-bind", str(place), str(place), "--tmpfs", "/var/tmp"]
    assert "mount a volume there that this uid may write" in refused("strict", around, place)


def test_no_temporary_directory_is_named(place: Path) -> None:
    around = [option.replace("--dev-bind", "--ro-bind") for option in sabotage.OUTER] + ["--dev-bind", "/dev", "/dev"]
    assert "mount a volume on /tmp that this uid may write" in refused("strict", around, place)


@pytest.mark.parametrize("options", ["noexec", "nosuid,nodev,noatime"])
def test_a_workspace_on_a_volume_with_fewer_rights_works(place: Path, options: str) -> None:
    """What lies there cannot be run as a program of its own; nothing that holds user code depends on that."""
    mount = f'mount -t tmpfs -o {options},mode=755 tmpfs "$0" && exec "$@"'
    before = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, str(place)]
    assert probed("strict", [], place, before) == {"level": "full", "shortfall": "", "returned": RAN}
