import os
from pathlib import Path

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
