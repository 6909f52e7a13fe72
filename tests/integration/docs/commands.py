"""The commands of the documentation: found in its pages, and run as a reader would.

A block fenced as ``sh`` is run here. One that needs more says so behind that word (``sh cluster``). What a block prints
stands in the ``text`` block behind it, in which ``…`` stands for anything.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.shell import ROOT, Done, run_in_one_shell

DOCS: Final = ROOT / "docs"
NEEDS: Final = {
    "": "nothing but a checkout with its virtual environment",
    "install": "root, to install packages",
    "docker": "a Docker Engine, and a registry to push to",
    "cluster": "a cluster with the operator, and the chart's default names",
    "cluster-maker": "half an hour to make a cluster",
    "untried": "what this project has no machine for; the page says so",
    "example": "is code for a sandbox, not a command",
}
"""What may stand behind ``sh``."""
_FENCE: Final = re.compile(r"^(?P<mark>`{3,}|~{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=mark)[ ]*$", re.M | re.S)
_SHELL: Final = frozenset({"sh", "bash", "shell", "console"})
_WITHOUT_COMMANDS: Final = frozenset({"text", "yaml", "json", "python", "js", "{toctree}", "{include}"})


@dataclass(frozen=True)
class Block:
    """A block of commands; ``output`` None: the page shows none."""

    page: str
    line: int
    needs: str
    commands: str
    output: str | None

    @property
    def where(self) -> str:
        """For a person."""
        return f"{self.page}:{self.line}"


def read_blocks(page: Path) -> list[Block]:
    """The blocks of commands of a page, in their order."""
    text = page.read_text()
    fences = list(_FENCE.finditer(text))
    found = []
    for number, fence in enumerate(fences):
        language, _, needs = fence["info"].strip().partition(" ")
        where = f"{page.name}:{text.count(chr(10), 0, fence.start()) + 1}"
        if language in _SHELL:
            found.append(_block(where, needs, fence, fences[number + 1 : number + 2], text))
    return found


def find_unknown(page: Path) -> list[str]:
    """Where a page has a block in a language that is neither a shell nor known to hold no commands."""
    text = page.read_text()
    unknown = [fence for fence in _FENCE.finditer(text) if _language(fence) not in _SHELL | _WITHOUT_COMMANDS]
    return [f"{page.name}:{text.count(chr(10), 0, fence.start()) + 1}: {_language(fence)!r}" for fence in unknown]


def _language(fence: re.Match[str]) -> str:
    return fence["info"].strip().partition(" ")[0]


def _block(where: str, needs: str, fence: re.Match[str], after: list[re.Match[str]], text: str) -> Block:
    page, _, line = where.rpartition(":")
    commands, output = fence["body"], None
    if fence["info"].startswith("console"):
        shown = commands.splitlines(keepends=True)
        commands = "".join(each[2:] for each in shown if each.startswith("$ "))
        output = "".join(each for each in shown if not each.startswith("$ "))
    elif after and after[0]["info"].split()[:1] == ["text"] and not text[fence.end() : after[0].start()].strip():
        output = after[0]["body"]
    return Block(page, int(line), needs, commands, output)


def run_blocks(blocks: list[Block], timeout_s: float) -> list[Done]:
    """All of them in one shell, both streams as they come.

    Raises:
        subprocess.TimeoutExpired: they took longer.
    """
    return run_in_one_shell((block.commands for block in blocks), timeout_s)


def is_shown(shown: str, printed: str) -> bool:
    """Whether what was printed is what the page shows; ``…`` there stands for anything."""
    pattern = ".*".join(re.escape(part.strip()) for part in shown.split("…"))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
