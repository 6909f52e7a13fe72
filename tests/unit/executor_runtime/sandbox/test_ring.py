"""The last bytes, whatever the pieces were."""

from hypothesis import given
from hypothesis import strategies as st

from executor_runtime.sandbox.ring import Ring

PIECES = st.lists(st.binary(max_size=40), max_size=20)


@given(pieces=PIECES, capacity=st.integers(1, 32))
def test_it_holds_the_last_bytes_and_counts_all(pieces: list[bytes], capacity: int) -> None:
    ring, whole = Ring(capacity), b"".join(pieces)
    for piece in pieces:
        ring.write(piece)
    assert ring.written_bytes == len(whole)
    assert ring.begin == max(len(whole) - capacity, 0)
    for begin in range(ring.begin, len(whole) + 1):
        assert ring.read(begin, 7) == whole[begin : begin + 7]
    assert ring.read(ring.begin, len(whole)) == whole[ring.begin :]


@given(before=PIECES, after=PIECES, capacity=st.integers(1, 16), more=st.integers(16, 64))
def test_a_larger_one_goes_on_with_what_the_smaller_one_holds(
    before: list[bytes], after: list[bytes], capacity: int, more: int
) -> None:
    small = Ring(capacity)
    for piece in before:
        small.write(piece)
    ring, begin = small.enlarged(more), small.begin
    assert (ring.begin, ring.read(begin, more)) == (begin, small.read(begin, more))
    for piece in after:
        ring.write(piece)
    whole = b"".join([*before, *after])
    assert ring.begin == max(len(whole) - more, begin)
    assert ring.read(ring.begin, len(whole)) == whole[ring.begin :]
