"""An executor that is started as root is root no more, or does not start.

Each test runs a program of its own as root: becoming unprivileged cannot be taken back.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.sandbox, pytest.mark.usefixtures("_root")]

REPOSITORY = Path(__file__).parents[2]
PROGRAM = """
import sys
import tempfile
from pathlib import Path
from executor_runtime.privileges import drop_or_refuse, set_non_dumpable
from executor_runtime.sandbox import PrivilegesError
try:
    drop_or_refuse([Path(name) for name in sys.argv[1:]])
except PrivilegesError as error:
    print("refused:", error)
    raise SystemExit(1)
set_non_dumpable()
"""
STATE = """
import os
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
capabilities = [int(status[name], 16) for name in ("CapEff", "CapPrm")]
print(os.getresuid(), os.getresgid(), os.getgroups(), capabilities, status["NoNewPrivs"])
"""


@pytest.fixture
def _root() -> None:
    if os.geteuid() != 0:
        pytest.fail("these tests are about root: run them as root (make test does, in a container or as root)")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may reach; pytest's own is root's alone."""
    path = Path(tempfile.mkdtemp(prefix="privileges-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def start(code: str, *directories: Path, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", PROGRAM + code, *map(str, directories)]
    return subprocess.run(argv, capture_output=True, text=True, cwd=cwd, timeout=200)


def test_root_becomes_unprivileged_for_good(place: Path) -> None:
    done = start(STATE, place / "workspace", place / "results")
    assert done.stdout.split("\n")[0] == "(1000, 1000, 1000) (1000, 1000, 1000) [] [0, 0] 1", done.stderr
    for name in ("workspace", "results"):
        found = (place / name).stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1000, 1000, 0o700)


def test_it_cannot_become_root_again(place: Path) -> None:
    done = start("import os\ntry: os.setuid(0)\nexcept PermissionError: print('no')", place / "workspace")
    assert done.stdout == "no\n", done.stderr


def test_starting_again_works(place: Path) -> None:
    assert start("", place / "workspace").returncode == 0
    (place / "workspace" / "kept").touch()
    assert start("", place / "workspace").returncode == 0
    assert (place / "workspace" / "kept").stat().st_uid == 0


def test_a_directory_that_holds_something_of_roots_is_left_alone(place: Path) -> None:
    (place / "workspace").mkdir()
    (place / "workspace" / "file").touch()
    done = start("", place / "workspace")
    assert done.returncode == 1
    assert done.stdout.startswith("refused:")
    assert "name an empty directory" in done.stdout
    assert done.stdout.count("\n") == 1
    assert (place / "workspace").stat().st_uid == 0


def test_a_link_is_not_followed(place: Path) -> None:
    (place / "target").mkdir()
    (place / "workspace").symlink_to(place / "target")
    done = start("", place / "workspace")
    assert done.returncode == 1
    assert done.stdout.startswith("refused:")
    assert (place / "target").stat().st_uid == 0


def test_a_directory_of_another_user_is_refused(place: Path) -> None:
    (place / "workspace").mkdir()
    os.chown(place / "workspace", 4242, 4242)
    done = start("", place / "workspace")
    assert done.returncode == 1
    assert "belongs to uid 4242" in done.stdout


def test_code_and_directories_below_a_closed_directory_still_work(place: Path) -> None:
    """A clone below /root, whose mode is 0700: only what is needed is shown, to this process alone."""
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    (closed / "secret").write_text("secret")
    for package in ("contracts", "executor_runtime"):
        shutil.copytree(REPOSITORY / package, closed / "clone" / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = """
import os, executor_runtime.capture
print(executor_runtime.__path__[0], sorted(os.listdir(os.path.dirname(sys.argv[1]))))
Path(sys.argv[1], "written").touch()
"""
    done = start(code, closed / "workspace", cwd=closed / "clone")
    assert done.stdout == f"{closed}/clone/executor_runtime ['clone', 'workspace']\n", done.stderr
    assert (closed / "workspace" / "written").stat().st_uid == 1000
    assert closed.stat().st_mode & 0o777 == 0o700
    assert str(closed) not in Path("/proc/self/mounts").read_text()


def test_others_of_the_same_uid_cannot_look_into_the_executor(place: Path) -> None:
    code = """
import os, subprocess
look = f"head -c1 /proc/{os.getpid()}/environ; ls /proc/{os.getpid()}/fd"
print(subprocess.run(["sh", "-c", look], capture_output=True, text=True).stderr.count("Permission denied"))
"""
    assert start(code, place / "workspace").stdout == "2\n"
