"""What a person is told when the pod lacks something."""

import os
from pathlib import Path

import pytest

from executor_runtime.sandbox import BwrapMissing, SetuidBwrap
from executor_runtime.sandbox.probe import explain, find_bwrap, find_links


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "procMount: Unmasked"),
        ("bwrap: cannot open /proc/sys/user/max_user_namespaces: Read-only file system", "procMount: Unmasked"),
        ("bwrap: setting up uid map: Permission denied", "runAsUser: 1000"),
        ("bwrap: Creating new namespace failed: Operation not permitted", "Localhost seccomp profile"),
        ("bwrap: No permissions to create new namespace, likely because the kernel", "Localhost seccomp profile"),
        ("bwrap: Failed to make / slave: Operation not permitted", "AppArmor"),
    ],
)
def test_each_known_failure_names_the_setting_to_change(message: str, advice: str) -> None:
    told = explain(message)
    assert told.startswith(message)
    assert advice in told
    assert "\n" not in told


def test_an_unknown_failure_is_told_as_it_is() -> None:
    assert explain("bwrap: something new") == "bwrap: something new"


def test_a_missing_bwrap_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BwrapMissing, match="install bubblewrap"):
        find_bwrap()


def test_a_setuid_bwrap_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o4755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetuidBwrap, match="CVE-2026-41163"):
        find_bwrap()


def test_the_links_are_the_hosts() -> None:
    assert all(os.readlink(path) == target for path, target in find_links())
