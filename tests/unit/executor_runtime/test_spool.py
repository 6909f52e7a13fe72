import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from executor_runtime.errors import StartError
from executor_runtime.spool import Spool, SpooledReport
from tests.unit.executor_runtime.fake_time import START

ID = "exec_20260115_a1b2c3d4"


def make_report(execution_id: str = ID, body: bytes = b'{"a": 1}') -> SpooledReport:
    return SpooledReport(
        execution_id=execution_id,
        idempotency_key="key",
        saved_at=START.timestamp(),
        report_token="own-token",
        body=body,
    )


def test_what_is_saved_is_loaded_and_private(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a" / "results")
    file = spool.save(make_report())
    assert spool.load(ID) == (make_report(), file)
    assert spool.waiting() == [ID]
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    spool.remove(file)
    spool.remove(file)
    assert list(file.path.parent.iterdir()) == []
    assert spool.load(ID) is None


def test_a_newer_report_is_not_removed_in_place_of_an_older_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    older = spool.save(make_report(body=b"1"))
    spool.save(make_report(body=b"2"))
    spool.remove(older)
    loaded = spool.load(ID)
    assert loaded is not None
    assert loaded[0].body == b"2"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        make_report(body=b"not json").model_dump_json().encode(),
        make_report(execution_id="exec_20260115_another0").model_dump_json().encode(),
        make_report().model_dump_json().replace("own-token", "clé").encode(),
        make_report().model_dump_json().replace("own-token", "a\\nb").encode(),
    ],
    ids=["empty", "half", "no utf-8", "array", "deep", "body no json", "another id", "no header", "two headers"],
)
def test_a_corrupt_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    spool = Spool(tmp_path)
    (tmp_path / f"{ID}.json").write_bytes(content)
    assert spool.load(ID) is None
    assert [path.name for path in tmp_path.iterdir()] == [f"{ID}.corrupt"]
    assert spool.waiting() == []


@pytest.mark.timeout(60)
def test_what_is_no_file_is_no_report_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"{ID}.json")
    (tmp_path / "exec_20260115_a1b2c3d5.json").mkdir()
    spool = Spool(tmp_path)
    assert (spool.waiting(), spool.waiting_bytes) == ([], 0)
    assert spool.load(ID) is None


def test_a_file_longer_than_any_report_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / f"{ID}.json").open("wb") as file:
        file.truncate(2**40)
    spool = Spool(tmp_path)
    assert spool.full
    assert spool.load(ID) is None
    assert (spool.waiting(), spool.waiting_bytes, list(tmp_path.iterdir())) == ([], 0, [])


def test_a_link_in_the_directory_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.write_text(make_report().model_dump_json())
    spool = Spool(tmp_path / "results")
    (tmp_path / "results" / f"{ID}.json").symlink_to(secret)
    assert spool.load(ID) is None
    assert secret.exists()


def test_everything_goes_after_a_day(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    ids = [f"exec_20260115_{number:08d}" for number in range(3)]
    for number, execution_id in enumerate(ids):
        path = spool.save(make_report(execution_id)).path
        saved = (START + timedelta(hours=number)).timestamp()
        os.utime(path, (saved, saved))
    for name in ("x.corrupt", "x.refused", "x.tmp"):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (START.timestamp(),) * 2)
    assert spool.waiting() == ids
    assert spool.expire(START + timedelta(hours=23)) == 0
    assert spool.expire(START + timedelta(hours=25, minutes=1)) == 2
    assert [path.name for path in tmp_path.iterdir()] == [f"{ids[2]}.json"]


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    spool.save(make_report(body=b"1"))

    def crash(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "rename", crash)
    with pytest.raises(OSError, match="Input/output"):
        spool.save(make_report(body=b"2"))
    monkeypatch.undo()
    loaded = Spool(tmp_path).load(ID)
    assert loaded is not None
    assert loaded[0].body == b"1"


def test_a_sync_reaches_file_and_directory_and_what_is_gone_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    spool = Spool(tmp_path)
    file = spool.save(make_report())
    assert synced == []
    spool.sync(file)
    assert synced == [str(file.path), str(tmp_path)]
    spool.remove(file)
    spool.sync(file)
    assert len(synced) == 2


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="RESULTS_PATH .*file/results"):
        Spool(tmp_path / "file" / "results")


def test_it_is_full_when_too_much_waits_and_saves_all_the_same(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_waiting_bytes=1000)
    assert (spool.waiting_bytes, spool.full) == (0, False)
    first = spool.save(make_report(body=b'"' + b"x" * 1000 + b'"'))
    assert spool.full
    other = ID[:-1] + "5"
    second = spool.save(make_report(other))
    assert spool.waiting_bytes == first.path.stat().st_size + second.path.stat().st_size
    assert Spool(tmp_path, max_waiting_bytes=1000).waiting_bytes == spool.waiting_bytes
    replaced = spool.save(make_report())
    assert not spool.full
    spool.remove(first)  # it was replaced: nothing is removed, and nothing is counted
    assert spool.waiting_bytes == replaced.path.stat().st_size + second.path.stat().st_size
    spool.remove(replaced)
    spool.set_aside(second)
    assert spool.waiting_bytes == 0


def test_what_expires_or_is_corrupt_does_not_count_any_more(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    file = spool.save(make_report())
    spool.save(make_report(ID[:-1] + "5"))
    file.path.write_bytes(b"{")
    assert spool.load(ID) is None
    spool.expire(START + timedelta(days=36_500))
    assert spool.waiting_bytes == 0
    assert list(tmp_path.iterdir()) == []


def test_only_files_that_are_never_sent_give_way_and_the_oldest_first(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_aside_bytes=400)
    kept = spool.save(make_report(ID[:-1] + "9", body=b'"' + b"x" * 1000 + b'"'))
    for age, last in ((3, "1"), (2, "2"), (1, "3")):
        file = spool.save(make_report(ID[:-1] + last))
        os.utime(file.path, (START.timestamp() - age, START.timestamp() - age))
        spool.set_aside(file)
    assert kept.path.exists()
    aside = sorted(path.stem for path in tmp_path.glob("*.refused"))
    assert aside == [ID[:-1] + "2", ID[:-1] + "3"]
