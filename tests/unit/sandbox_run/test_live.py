"""What is printed of a run while it goes on, whatever the pieces are."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.output_events import Chunk, Gap, Position
from executor_runtime.capture import MARKER, split_marked
from sandbox_run.live import _MARKER, Live, _Gate

NOWHERE = Position()
OUTPUTS = st.lists(st.sampled_from(["a", "\n", MARKER, "1", MARKER[:7], "=", "ä"]), max_size=12).map("".join)


def test_the_marker_is_the_executors() -> None:
    assert _MARKER.decode() == MARKER


@given(text=OUTPUTS, cuts=st.lists(st.integers(0, 80), max_size=6))
def test_in_the_end_all_is_printed_that_the_result_has(text: str, cuts: list[int]) -> None:
    raw, gate = text.encode(), _Gate()
    places = [0, *sorted(cuts), len(raw)]
    printed = b"".join(gate.take(raw[begin:end]) for begin, end in zip(places, places[1:], strict=False))
    assert MARKER.encode() not in printed
    if MARKER not in text:
        assert len(raw) - len(printed) < len(MARKER)
    assert (printed + gate.rest(split_marked(text)[0])).decode() == split_marked(text)[0]


async def test_what_is_missing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    live = Live(raw=False, has_markers=False)
    await live.show(Chunk("stdout", b"a", NOWHERE))
    await live.show(Gap("stdout", 1, 9, NOWHERE))
    await live.show(Chunk("stderr", b"b", NOWHERE))
    await live.finish("")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (
        "a",
        "sandbox-run: 8 bytes of stdout are missing here: nobody has kept them\nb",
    )


@pytest.mark.parametrize(("raw", "shown"), [(False, "\x1b[32mgrün\x1b[0m\n\\x07\ufffd"), (True, None)])
@pytest.mark.parametrize("size", [1, 2, 100])
async def test_a_terminal_gets_whole_characters_and_colours(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], raw: bool, shown: str | None, size: int
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    sent = "\x1b[32mgrün\x1b[0m\r\n\x07".encode() + b"\xc3"
    live = Live(raw=raw, has_markers=False)
    for begin in range(0, len(sent), size):
        await live.show(Chunk("stdout", sent[begin : begin + size], NOWHERE))
    await live.finish("")
    assert capfdbinary.readouterr().out == (sent if shown is None else shown.encode())
