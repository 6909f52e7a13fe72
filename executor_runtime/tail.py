"""The end of a stream as text, for who shows it while it grows."""

from contracts import bounds


def decode_tail(raw: bytes) -> str:
    """The last 4 KiB of UTF-8 at most, of the last bytes of a stream; it begins with a whole character.

    What is no UTF-8 is replaced, which makes it longer.
    """
    begin = 0
    while len(raw) >= bounds.STATUS_TAIL_BYTES and begin < 3 and raw[begin] & 0xC0 == 0x80:
        begin += 1
    text = raw[begin:].decode(errors="replace").encode()
    return text[-bounds.STATUS_TAIL_BYTES :].decode(errors="ignore")
