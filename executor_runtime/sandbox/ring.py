"""The last bytes of a stream that is longer than what is held of it."""


class Ring:
    """Holds the last ``capacity`` bytes of what is written to it; counts them all. Takes that much memory, always."""

    def __init__(self, capacity: int) -> None:
        self.written_bytes = 0
        self._bytes = bytearray(capacity)
        self._first = 0

    @property
    def capacity(self) -> int:
        """Bytes that it holds at most."""
        return len(self._bytes)

    @property
    def begin(self) -> int:
        """The first byte that is still held, counted from the first that was written."""
        return max(self.written_bytes - self.capacity, self._first)

    def write(self, data: bytes | memoryview) -> None:
        """Adds to it; what it has no room for goes, the oldest first."""
        kept = memoryview(data)[-self.capacity :]
        at = (self.written_bytes + len(data) - len(kept)) % self.capacity
        first = min(len(kept), self.capacity - at)
        self._bytes[at : at + first] = kept[:first]
        self._bytes[: len(kept) - first] = kept[first:]
        self.written_bytes += len(data)

    def read(self, begin: int, size: int) -> bytes:
        """``size`` bytes from ``begin`` on, or as many as there are; ``begin`` must be held still."""
        size = min(size, self.written_bytes - begin)
        at = begin % self.capacity
        found = bytes(self._bytes[at : at + size])
        return found + self._bytes[: size - len(found)]

    def enlarged(self, capacity: int) -> "Ring":
        """One with more room, and all that is held here."""
        larger = Ring(capacity)
        larger.written_bytes = larger._first = self.begin
        larger.write(self.read(self.begin, self.capacity))
        return larger
