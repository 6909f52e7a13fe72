"""The parts of a release that need neither a builder nor a network."""

import gzip
import hashlib
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from deploy.release import Release, ReleaseError, commit_time, main, repack, write_checksums

EPOCH = 1_790_000_000


def packed(folder: Path, name: str, files: list[str]) -> Path:
    """A .tar.gz of this moment, with its files in this order."""
    archive = folder / name
    with tarfile.open(archive, "w:gz") as written:
        for file in files:
            source = folder / file
            source.write_text(file)
            written.add(source, f"top/{file}")
    return archive


def test_the_same_files_are_the_same_bytes_whenever_and_in_whatever_order_they_were_packed(tmp_path: Path) -> None:
    first, second = packed(tmp_path, "1.tar.gz", ["a", "b"]), packed(tmp_path, "2.tar.gz", ["b", "a"])
    assert first.read_bytes() != second.read_bytes()
    for archive in (first, second):
        repack(archive, EPOCH)
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as opened:
        assert [(member.name, member.mtime, member.uname) for member in opened] == [
            ("top/a", EPOCH, ""),
            ("top/b", EPOCH, ""),
        ]
        content = opened.extractfile("top/b")
        assert content is not None
        assert content.read() == b"b"
    assert gzip.decompress(first.read_bytes())


def test_checksums_are_those_that_sha256sum_checks(tmp_path: Path) -> None:
    (tmp_path / "b.whl").write_bytes(b"wheel")
    (tmp_path / "a.tgz").write_bytes(b"chart")
    write_checksums(Release(tmp_path, "0.1.0", EPOCH))
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert lines[0] == f"{hashlib.sha256(b'chart').hexdigest()}  a.tgz"
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)


def test_the_time_is_the_commits_or_the_one_that_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))
    assert commit_time(tmp_path) == EPOCH
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    with pytest.raises(ReleaseError, match="set SOURCE_DATE_EPOCH"):
        commit_time(tmp_path)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.dev"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
    assert abs(commit_time(tmp_path) - time.time()) < 100


def test_a_directory_with_something_in_it_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("keep")
    monkeypatch.setattr("sys.argv", ["release", str(tmp_path)])
    assert main() == 1
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
