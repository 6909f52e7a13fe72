"""Outputs as a client reads them: checked, resumed, and saved where the person said and nowhere else."""

import hashlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_executor_client import AsyncStoredOutput, Corrupted, InvalidExecution, Unavailable, safe_path
from sandbox_executor_client import stored as stored_module

CONTENT = bytes(range(256)) * 40


def make(*answers: bytes | Exception, name: str = "artifacts/a.bin", content: bytes = CONTENT) -> AsyncStoredOutput:
    """An output whose fetches give these answers, one after another; an exception comes after what was before it."""
    left = list(answers)
    asked: list[int] = []

    async def fetch(offset: int) -> AsyncGenerator[bytes, None]:
        asked.append(offset)
        while left:
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            yield answer

    return AsyncStoredOutput(name, len(content), hashlib.sha256(content).hexdigest(), "", False, fetch)


async def test_it_is_read_whole() -> None:
    assert await make(CONTENT[:100], CONTENT[100:]).read() == CONTENT


async def test_a_broken_connection_is_taken_up_where_it_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_module, "PAUSES_S", (0.0, 0.0))
    output = make(CONTENT[:5000], Unavailable("broke"), CONTENT[5000:])
    assert await output.read() == CONTENT


async def test_it_is_given_up_after_some_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_module, "PAUSES_S", (0.0, 0.0))
    with pytest.raises(Unavailable, match="down"):
        await make(*[Unavailable("down")] * 3).read()
    with pytest.raises(Unavailable, match="ended after 5 of 10240 bytes"):
        await make(CONTENT[:5]).read()


@pytest.mark.parametrize("wrong", [CONTENT[:-1] + b"x", CONTENT + b"x"])
async def test_what_is_not_what_the_status_says_is_not_kept(wrong: bytes, tmp_path: Path) -> None:
    with pytest.raises(Corrupted):
        await make(wrong).read()
    with pytest.raises(Corrupted):
        await make(wrong).save(tmp_path / "file")
    assert os.listdir(tmp_path) == []


async def test_too_much_for_memory_is_refused() -> None:
    with pytest.raises(InvalidExecution, match="save it to a file"):
        await make(CONTENT).read(max_bytes=100)


async def test_it_is_saved_under_a_name_or_below_a_directory(tmp_path: Path) -> None:
    assert (await make(CONTENT).save(tmp_path / "mine")).read_bytes() == CONTENT
    saved = await make(CONTENT, name="artifacts/data/table.csv").save(tmp_path)
    assert saved == tmp_path / "artifacts" / "data" / "table.csv"
    assert saved.read_bytes() == CONTENT
    with pytest.raises(FileExistsError, match="exists"):
        await make(CONTENT).save(tmp_path / "mine")
    await make(b"new", content=b"new").save(tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["artifacts", "mine"]


async def test_a_link_where_it_would_lie_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stdout").symlink_to(victim)
    with pytest.raises(FileExistsError):
        await make(CONTENT, name="stdout").save(tmp_path / "out")
    await make(CONTENT, name="stdout").save(tmp_path / "out", overwrite=True)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("artifacts/data/table.csv", "artifacts/data/table.csv"),
        ("artifacts/../../etc/passwd", "artifacts/%2E%2E/%2E%2E/etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("artifacts//x", "artifacts/x"),
        (".ssh/authorized_keys", "%2Essh/authorized_keys"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a\nb", "a%0Ab"),
        ("\x1b[31mred", "%1B[31mred"),
        ("\u202etxt.exe", "%E2%80%AEtxt.exe"),
        ("c:\\windows", "c%3A%5Cwindows"),
        ("100%", "100%25"),
        ("trailing. ", "trailing.%20"),
        ("ä/é", "ä/é"),
        ("~/x", "~/x"),
        ("/", "%"),
    ],
)
def test_a_name_becomes_a_path_that_leads_down(name: str, path: str) -> None:
    assert safe_path(name) == PurePosixPath(path)


@given(st.text(min_size=1, max_size=200))
def test_no_name_leads_elsewhere(name: str) -> None:
    path = safe_path(name)
    assert not path.is_absolute()
    assert path.parts
    for part in path.parts:
        assert part not in (".", "..")
        assert not part.startswith(".")
        assert "\0" not in part
        assert "\\" not in part
        assert len(part.encode("utf-8", "surrogatepass")) <= 255


@given(st.lists(st.text(st.characters(exclude_characters="/", codec="utf-8"), min_size=1, max_size=20), min_size=2))
def test_two_names_never_become_one(parts: list[str]) -> None:
    names = {f"artifacts/{part}" for part in parts}
    assert len({safe_path(name) for name in names}) == len(names)
