"""Text that untrusted code may have written, on a person's terminal.

A name, a message or output can hold control sequences: to a terminal they are commands that move the cursor, set the
title or forge what stands above. Tables and sentences show them as text; output that goes to a terminal keeps colours,
line ends and tabs, and nothing else. What goes into a pipe or a file is never changed.
"""

import re
from typing import Final

_COLOUR: Final = r"\x1b\[[0-9;:]*m"
_CONTROL: Final = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
"""C0 but tab and line feed, DEL, C1, and what turns the direction of text."""
_COLOUR_OR_CONTROL: Final = re.compile(f"({_COLOUR})|{_CONTROL}")
_ANY: Final = re.compile(f"{_CONTROL}|[\\t\\n]")


def one_line(text: str) -> str:
    """For a cell or a sentence: every control character as ``\\x1b``."""
    return _ANY.sub(_visible, text)


def plain(text: str) -> str:
    """For a paragraph: the same, but lines stay lines."""
    return "\n".join(one_line(line.replace("\t", "    ")) for line in text.split("\n"))


def for_terminal(text: str) -> str:
    """A program's output: colours pass, every other control character is shown."""
    return _COLOUR_OR_CONTROL.sub(lambda found: found[1] or _visible(found), text.replace("\r\n", "\n"))


def _visible(found: re.Match[str]) -> str:
    character = found[0]
    named = {"\t": " ", "\n": " "}
    return named.get(character) or (f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}")
