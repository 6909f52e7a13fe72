"""What is bound into sandboxes is what was probed, or nothing starts."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from executor_runtime.sandbox import Isolation, Job, Sandbox
from executor_runtime.sandbox.errors import BindSourceChanged
from executor_runtime.sandbox.probe import find_sources
from executor_runtime.sandbox.sources import BindSource, check_sources
from executor_runtime.workspace import Workspaces


def test_a_directory_is_what_it_was(tmp_path: Path) -> None:
    check_sources([BindSource.of(str(tmp_path))])


def test_another_directory_in_its_place_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "usr").mkdir()
    source = BindSource.of(str(tmp_path / "usr"))
    (tmp_path / "usr").rename(tmp_path / "aside")
    (tmp_path / "usr").mkdir()
    with pytest.raises(BindSourceChanged, match="not the directory that was probed"):
        check_sources([source])


@pytest.mark.parametrize("kind", ["link", "file", "nothing"])
def test_what_is_no_directory_of_its_own_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "usr"
    if kind == "link":
        path.symlink_to(tmp_path)
    if kind == "file":
        path.touch()
    with pytest.raises(BindSourceChanged, match="cannot be bound"):
        BindSource.of(str(path))


def test_the_sources_of_this_machine_are_found() -> None:
    assert find_sources()[0].path == "/usr"
    check_sources(find_sources())


async def test_nothing_starts_from_a_source_that_has_changed(tmp_path: Path) -> None:
    usr = find_sources()[0]
    isolation = Isolation(
        level="full",
        bwrap="/nowhere/bwrap",
        interpreters={"python": "/usr/bin/python3"},
        init_code=b"",
        python_path=(),
        seccomp_filter=b"",
        sources=(replace(usr, inode=usr.inode + 1),),
    )
    job = Job("exec_20260115_a1b2c3d4", "python", "", Workspaces(tmp_path).create("x"), 1)
    with pytest.raises(BindSourceChanged):
        await Sandbox(isolation).run(job, asyncio.Event())
