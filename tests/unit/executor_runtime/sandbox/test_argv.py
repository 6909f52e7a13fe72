"""The bubblewrap command line (the seed's T047)."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.executor_api import LANGUAGES, ExecutionRequest, IsolationLevel
from contracts.ids import EXECUTION_ID_PATTERN
from executor_runtime.sandbox import Isolation, Job
from executor_runtime.sandbox.argv import Start, build_argv
from executor_runtime.sandbox.model import build_start
from executor_runtime.workspace import Workspace, session_name

MOUNTS = {"--ro-bind": 2, "--bind": 2, "--symlink": 2, "--tmpfs": 1, "--dev": 1, "--proc": 1}
"""Option → number of its arguments; the last one is the destination."""
USER_WRITABLE = ("/workspace", "/tmp", "/dev/shm")

levels: st.SearchStrategy[IsolationLevel] = st.sampled_from(["full", "reduced"])
paths = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=30).map(
    lambda text: f"/{text}"
)
starts = st.builds(
    Start,
    level=levels,
    bwrap=st.just("/usr/bin/bwrap"),
    interpreter=st.just("/usr/bin/python3"),
    workspace=paths,
    tmp_bytes=st.integers(1, 2**40),
    alternatives=st.booleans(),
    links=st.lists(st.sampled_from([("/bin", "usr/bin"), ("/lib", "usr/lib")]), unique=True).map(tuple),
    job_fd=st.integers(3, 1000),
    seccomp_fd=st.integers(3, 1000),
    info_fd=st.integers(3, 1000),
)


ISOLATION = Isolation(
    level="full",
    bwrap="/usr/bin/bwrap",
    interpreters={language: f"/usr/bin/{language}" for language in LANGUAGES},
    init_code=b"",
    python_path=(),
    seccomp_filter=b"",
    links=(("/bin", "usr/bin"), ("/lib", "usr/lib")),
    alternatives=True,
)
ATTACKS = [
    "--bind",
    "/",
    "--dev-bind",
    "/workspace/link/x",
    "../../..",
    "--",
    "--share-net",
    "--cap-add ALL",
    "\n",
    "é",
]
texts = st.one_of(st.sampled_from(ATTACKS), st.text(st.characters(blacklist_categories=["Cs"]), max_size=40))
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
values = texts.filter(lambda text: "\0" not in text)
requests = st.fixed_dictionaries(
    {
        "code": texts,
        "language": st.sampled_from(LANGUAGES),
        "execution_id": st.from_regex(EXECUTION_ID_PATTERN, fullmatch=True).filter(lambda text: text.isascii()),
    },
    optional={
        "stdin": texts,
        "event": st.recursive(texts | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(texts, inner)),
        "timeout": st.integers(1, 3600),
        "env_vars": st.dictionaries(names, values, max_size=5),
        "session_id": st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True),
        "report_token": st.from_regex(r"[!-~]{1,20}", fullmatch=True),
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "memory_bytes": st.integers(16 << 20, 2**40),
                "processes": st.integers(1, 32_768),
                "open_files": st.integers(16, 1_048_576),
                "workspace_bytes": st.integers(0, 2**40),
                "tmp_bytes": st.integers(16 << 20, 2**36),
            },
        ),
    },
)
"""Bodies of ``POST /execute`` that are taken."""


def argv_for(body: dict[str, Any]) -> tuple[list[str], Job]:
    """The command line of a request, with the workspace where ``Workspaces`` makes it."""
    request = ExecutionRequest.model_validate(body)
    session = request.session_id
    name = session_name(session) if session else f"{request.execution_id}-{'0' * 16}"
    job = Job.from_request(request, Workspace(Path("/workspaces") / name, 0, 0))
    return build_argv(build_start(ISOLATION, job.workspace.path, job.limits.tmp_bytes, 9, 7, 8)), job


@settings(deadline=None)
@given(requests)
def test_of_any_request_nothing_but_a_number_and_a_name_is_on_the_command_line(body: dict[str, Any]) -> None:
    """The size of ``/tmp``, and the workspace: an execution id, or a hash of the session's."""
    argv, job = argv_for(body)
    plain = argv_for({"code": "", "language": "python", "execution_id": "exec_20260115_a1b2c3d4"})[0]
    workspace = str(job.workspace.path)
    assert re.fullmatch(r"/workspaces/(exec_[0-9]{8}_[a-z0-9]{8}-[0-9a-f]{16}|session-[0-9a-f]{64})", workspace)
    differing = {(ours, theirs) for ours, theirs in zip(argv, plain, strict=True) if ours != theirs}
    assert {ours for ours, _ in differing} <= {workspace, str(job.limits.tmp_bytes)}


@settings(deadline=None)
@given(requests)
def test_any_request_has_the_same_mounts(body: dict[str, Any]) -> None:
    argv, job = argv_for(body)
    plain = build_start(ISOLATION, Path("/w"), 1, 9, 7, 8)
    assert mounts_of(argv) == mounts_of(build_argv(plain))


def start_at(level: IsolationLevel) -> Start:
    return Start(level, "/usr/bin/bwrap", "/usr/bin/python3", "/w/x", 1024, (("/bin", "usr/bin"),), True, 7, 8, 9)


def mounts_of(argv: list[str]) -> list[tuple[str, str]]:
    """(option, destination) in order; fails on an option that it does not know."""
    known = {
        **MOUNTS,
        **dict.fromkeys(["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"], 0),
        **dict.fromkeys(["--new-session", "--as-pid-1", "--clearenv"], 0),
        **dict.fromkeys(["--uid", "--gid", "--hostname", "--cap-drop", "--remount-ro", "--size", "--perms"], 1),
        **dict.fromkeys(["--chdir", "--seccomp", "--info-fd"], 1),
        "--setenv": 2,
    }
    found, rest = [], argv[1 : argv.index("--")]
    while rest:
        option, *rest = rest
        if option in MOUNTS:
            found.append((option, rest[known[option] - 1]))
        rest = rest[known[option] :]
    return found


@settings(deadline=None)
@given(starts)
def test_no_destination_is_below_what_user_code_can_write(start: Start) -> None:
    """CVE-2026-87766: bwrap before 0.12 makes destinations through symlinks."""
    for option, destination in mounts_of(build_argv(start)):
        parents = [str(parent) for parent in PurePosixPath(destination).parents]
        assert destination == str(PurePosixPath(destination))
        assert destination.startswith("/")
        assert ".." not in destination.split("/")
        assert not set(USER_WRITABLE).intersection(parents), (option, destination)


@settings(deadline=None)
@given(starts)
def test_the_workspace_is_the_only_bind_that_can_be_written_and_is_mounted_last(start: Start) -> None:
    mounts = mounts_of(build_argv(start))
    assert [mount for mount in mounts if mount[0] == "--bind"] == [("--bind", "/workspace")]
    assert mounts[-1] == ("--bind", "/workspace")


@settings(deadline=None)
@given(starts)
def test_the_command_line_depends_on_the_job_in_nothing_but_the_workspace(start: Start) -> None:
    argv = build_argv(start)
    assert argv.count(start.workspace) == 1
    assert argv[argv.index("--") + 1 : -1] == [start.interpreter, "-I", "-S", "-c"]


@pytest.mark.parametrize("level", ["full", "reduced"])
@pytest.mark.parametrize(
    "option",
    ["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--as-pid-1", "--clearenv", "--seccomp"],
)
def test_every_level_has_the_flags_of_the_design(level: IsolationLevel, option: str) -> None:
    assert option in build_argv(start_at(level))


@pytest.mark.parametrize("level", ["full", "reduced"])
def test_every_level_drops_all_capabilities_and_ends_read_only(level: IsolationLevel) -> None:
    argv = build_argv(start_at(level))
    assert argv[argv.index("--cap-drop") + 1] == "ALL"
    options = argv[: argv.index("--seccomp")]
    assert options[-2:] == ["--remount-ro", "/"]


def test_only_full_mounts_proc_and_locks_namespaces() -> None:
    full, reduced = build_argv(start_at("full")), build_argv(start_at("reduced"))
    for option in ("--proc", "--disable-userns"):
        assert option in full
        assert option not in reduced


@pytest.mark.parametrize("destination", ["/tmp", "/dev/shm"])
def test_memory_file_systems_have_a_size(destination: str) -> None:
    argv = build_argv(start_at("full"))
    options = argv[: argv.index(destination)]
    assert options[len(options) - 1 - options[::-1].index("--size") + 1] == "1024"
    assert "--bind" not in options[len(options) - 1 - options[::-1].index("--size") :]
