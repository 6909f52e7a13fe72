"""Who may still ask for something, and of which run of the executor."""

import pytest
from starlette.datastructures import Headers

from contracts.executor_api import ATTEMPT_HEADER, EPOCH_HEADER, MAX_ATTEMPT, MAX_EPOCH, OWNER_HEADER, RUN_HEADER
from executor_runtime.errors import OtherRun, StaleEpoch, ValidationFailed
from executor_runtime.fencing import Fence, Sender


def epoch(number: object) -> Headers:
    return Headers({EPOCH_HEADER: str(number)})


def test_without_headers_everything_is_as_it_is_alone() -> None:
    fence = Fence()
    fence.admit(epoch(9))
    assert fence.admit(Headers()) == Sender()


def test_an_older_epoch_than_the_highest_is_refused_and_changes_nothing() -> None:
    fence = Fence()
    assert [fence.admit(epoch(number)).epoch for number in (3, 3, 8)] == [3, 3, 8]
    with pytest.raises(StaleEpoch) as refused:
        fence.admit(epoch(7))
    assert (refused.value.http_status, refused.value.code) == (412, "Executor.StaleEpoch")
    assert "7 is older than 8" in refused.value.detail
    assert fence.admit(epoch(8)) == Sender(epoch=8)


def test_a_request_for_another_run_is_refused_and_one_for_this_run_is_not() -> None:
    fence, before = Fence(), Fence()
    assert fence.run_id != before.run_id
    assert fence.admit(Headers({RUN_HEADER: fence.run_id})) == Sender()
    with pytest.raises(OtherRun) as refused:
        fence.admit(Headers({RUN_HEADER: before.run_id}))
    assert (refused.value.http_status, refused.value.code) == (412, "Executor.OtherRun")


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "07", "x", "1 ", "９", str(MAX_EPOCH + 1)])
def test_what_is_no_epoch_is_refused_with_what_to_write(text: str) -> None:
    fence = Fence()
    with pytest.raises(ValidationFailed, match=EPOCH_HEADER):
        fence.admit(Headers(raw=[(EPOCH_HEADER.lower().encode(), text.encode("latin-1", "replace"))]))
    assert fence.admit(epoch(1)) == Sender(epoch=1)


def test_the_largest_epoch_is_one() -> None:
    assert Fence().admit(epoch(MAX_EPOCH)) == Sender(epoch=MAX_EPOCH)


@pytest.mark.parametrize("text", ["", "x", "A" * 32, "a" * 31, "a" * 33])
def test_what_is_no_run_id_is_refused(text: str) -> None:
    with pytest.raises(ValidationFailed, match=RUN_HEADER):
        Fence().admit(Headers({RUN_HEADER: text}))


def test_the_attempt_is_read_and_bounded() -> None:
    assert Fence().admit(Headers({ATTEMPT_HEADER: "11"})) == Sender(attempt=11)
    for text in ("0", "x", str(MAX_ATTEMPT + 1)):
        with pytest.raises(ValidationFailed, match=ATTEMPT_HEADER):
            Fence().admit(Headers({ATTEMPT_HEADER: text}))


def test_the_owner_is_read_and_bounded() -> None:
    uid = "5c7f2a36-6b0f-4a53-9d0c-0d4c3f1f0c11"
    assert Fence().admit(Headers({OWNER_HEADER: uid})) == Sender(owner=uid)
    for text in ("", "a b", "x" * 65, "a\n"):
        with pytest.raises(ValidationFailed, match=OWNER_HEADER):
            Fence().admit(Headers({OWNER_HEADER: text}))
