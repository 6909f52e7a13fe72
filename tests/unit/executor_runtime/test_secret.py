import json
import os
from pathlib import Path

from contracts.bounds import TOKEN_OVERLAP_S
from executor_runtime.secret import REDACTED, Redactor, Token


def test_known_tokens_are_replaced_wherever_they_stand() -> None:
    redactor = Redactor()
    redactor.hide("s3cret-1")
    record = {
        "a": "x s3cret-1 y",
        "b": ["s3cret-1", {"s3cret-1": 1}],
        "c": ("s3cret-1",),
        "d": 3,
        "e": ValueError("s3cret-1"),
    }
    redacted = redactor.redact(record)
    assert "s3cret" not in repr(redacted)
    assert redacted["a"] == f"x {REDACTED} y"
    assert redacted["d"] == 3


def test_a_token_that_is_part_of_another_leaves_nothing_of_it() -> None:
    redactor = Redactor()
    for token in ("common-part", "common-part-and-more", "before-common-part"):
        redactor.hide(token)
    assert redactor.redact("a common-part-and-more b before-common-part c") == f"a {REDACTED} b {REDACTED} c"
    redactor.forget("common-part-and-more")
    assert redactor.redact("common-part-and-more") == f"{REDACTED}-and-more"


def test_a_token_is_found_however_often_it_was_escaped() -> None:
    redactor = Redactor()
    token = "back\\\\slash'and\"quotes"
    redactor.hide(token)
    written: object = token
    for _ in range(4):
        for form in (repr(written), repr(str(written).encode()), json.dumps(str(written)), f'"{written}"'):
            assert "slash" not in redactor.redact(form)
        written = [str(written), ValueError(f'"{written}')]


def test_values_of_keys_that_are_named_like_a_secret_are_replaced() -> None:
    redacted = Redactor().redact({"Authorization": "Bearer x", "report_token": "x", "n": {"PASSWORD": "x"}, "key": "x"})
    assert redacted == {
        "Authorization": REDACTED,
        "report_token": REDACTED,
        "n": {"PASSWORD": REDACTED},
        "key": "x",
    }


def test_a_token_is_forgotten_after_its_last_use() -> None:
    redactor = Redactor()
    redactor.hide("t")
    redactor.hide("t")
    redactor.forget("t")
    assert redactor.redact("t") == REDACTED
    redactor.forget("t")
    assert redactor.redact("t") == "t"
    redactor.forget("never hidden")


def test_a_short_token_does_not_tear_other_words_apart() -> None:
    redactor = Redactor()
    redactor.hide("t")
    assert redactor.redact({"event_type": "t", "text": "the rest"}) == {"event_type": REDACTED, "text": "the rest"}


def test_an_endless_value_comes_to_an_end() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert "nested too deeply" in repr(Redactor().redact(loop))


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    redactor = Redactor()
    file = tmp_path / "token"
    file.write_text("old-token\n")
    token = Token("old-token", file, redactor)
    assert token.read() == "old-token"
    replacement = tmp_path / "new"
    replacement.write_text("new-token\n")
    os.rename(replacement, file)
    assert token.read() == "new-token"
    assert redactor.redact("old-token new-token") == f"{REDACTED} {REDACTED}"


def test_the_last_token_stays_while_the_file_is_missing_or_empty(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    token = Token("old", file, Redactor())
    file.unlink()
    assert token.read() == "old"
    file.write_text("")
    assert token.read() == "old"
    file.write_text("new")
    assert token.read() == "new"


def test_only_the_same_token_matches() -> None:
    token = Token("right", None, Redactor())
    assert token.matches("right")
    assert not token.matches("wrong")
    assert not token.matches("right ")
    assert not token.matches("")
    assert not token.matches("\udc80")
    assert not Token(None, None, Redactor()).matches("")


def test_the_token_before_a_rotation_counts_for_as_long_as_callers_may_not_have_the_new_one(tmp_path: Path) -> None:
    clock = [1_000.0]
    file = tmp_path / "token"
    file.write_text("first-token")
    token = Token("first-token", file, Redactor(), now=lambda: clock[0])
    for value, changed_at in (("second-token", 2_000.0), ("third-token", 3_000.0)):
        file.write_text(value)
        os.utime(file, (changed_at, changed_at))
        clock[0] = changed_at
        token.read()
    assert token.matches("third-token")
    assert token.matches("second-token")
    assert not token.matches("first-token"), "one rotation back, not two"
    clock[0] += TOKEN_OVERLAP_S + 1
    assert token.matches("third-token")
    assert not token.matches("second-token")


def test_a_rotation_that_is_noticed_late_gives_the_old_token_no_more_time(tmp_path: Path) -> None:
    """Nobody asked for an hour; the first to come shows the token that leaked."""
    file = tmp_path / "token"
    file.write_text("leaked-token")
    token = Token("leaked-token", file, Redactor(), now=lambda: 5_600.0)
    token.read()
    file.write_text("new-token")
    os.utime(file, (2_000.0, 2_000.0))
    assert not token.matches("leaked-token")
    assert token.matches("new-token")
