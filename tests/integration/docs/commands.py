"""The commands of the documentation: found in its pages, and run as a reader would.

A block fenced as ``sh`` is run by ``test_commands.py``, one fenced as ``sh cluster`` on the kind cluster, by
``tests/e2e/test_documentation.py``; a page whose blocks follow from each other may name a test of its own. A block that
no test can run says why not, in another word behind ``sh``. What a block prints stands in the ``text`` block behind it,
in which ``…`` stands for anything.
"""

import os
import re
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.shell import ROOT, Done, run_in_one_shell

DOCS: Final = ROOT / "docs"
PAGES: Final = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
RUN: Final = {
    "": "nothing but a checkout with its virtual environment",
    "cluster": "a cluster with the operator, and the chart's default names",
}
NOT_RUN: Final = {
    "install": "root, to install packages",
    "docker": "a Docker Engine, and a registry to push to",
    "own-cluster": "a cluster that nobody else uses: it installs the operator, or takes it away with all it has run",
    "cluster-maker": "half an hour to make a cluster",
    "untried": "what this project has no machine for; the page says so",
    "example": "is code for a sandbox, not a command",
}
NEEDS: Final = {**RUN, **NOT_RUN}
"""What may stand behind ``sh``: what the block needs, and whether a test has that."""
_FENCE: Final = re.compile(
    r"^(?P<indent> *)(?P<mark>`{3,}|~{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=mark)[ ]*$", re.M | re.S
)
_TO_THE_FIRST_FAILURE: Final = """(
set -eo pipefail
grep() { command grep "$@" || [ $? -eq 1 ]; }  # nothing to be found is what a page hopes for
%s
)"""
_DURATION: Final = re.compile(r"\b(?:\d+(?:\.\d+)?[smhd])+\b")
_NUMBER: Final = re.compile(r"\d+")
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


def blocks_of(page: Path, needs: str) -> list[Block]:
    """Those that need just this."""
    return [block for block in read_blocks(page) if block.needs == needs]


def where_run(page: Path) -> str | None:
    """The tests that a page names itself, because its blocks need more than a checkout or follow from each other."""
    found = re.search(r"A test,\s+\[`(tests/[^`]+)`\]\([^)]*\),\s+runs", page.read_text())
    return found[1] if found else None


def pages_with(needs: str) -> list[Path]:
    """Pages with such blocks that name no test of their own."""
    return [page for page in PAGES if where_run(page) is None and blocks_of(page, needs)]


def find_unknown(page: Path) -> list[str]:
    """Where a page has a block in a language that is neither a shell nor known to hold no commands."""
    text = page.read_text()
    unknown = [fence for fence in _FENCE.finditer(text) if _language(fence) not in _SHELL | _WITHOUT_COMMANDS]
    return [f"{page.name}:{text.count(chr(10), 0, fence.start()) + 1}: {_language(fence)!r}" for fence in unknown]


def _language(fence: re.Match[str]) -> str:
    return fence["info"].strip().partition(" ")[0]


def _block(where: str, needs: str, fence: re.Match[str], after: list[re.Match[str]], text: str) -> Block:
    page, _, line = where.rpartition(":")
    commands, output = textwrap.dedent(fence["body"]), None
    if fence["info"].startswith("console"):
        shown = commands.splitlines(keepends=True)
        commands = "".join(each[2:] for each in shown if each.startswith("$ "))
        output = "".join(each for each in shown if not each.startswith("$ "))
    elif after and after[0]["info"].split()[:1] == ["text"] and not text[fence.end() : after[0].start()].strip():
        output = textwrap.dedent(after[0]["body"])
    return Block(page, int(line), needs, commands, output)


def run_blocks(
    blocks: list[Block], timeout_s: float, *, folder: Path = ROOT, environment: Mapping[str, str] | None = None
) -> list[Done]:
    """All of them in one shell with this project's commands in PATH, both streams as they come.

    Raises:
        subprocess.TimeoutExpired: they took longer.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    commands = [block.commands for block in blocks]
    return run_in_one_shell(commands, timeout_s, folder=folder, environment={"PATH": path, **(environment or {})})


def written_out(block: Block, words: Mapping[str, str]) -> Block:
    """With what a reader writes for the words of the page, and ended by the first command that fails."""
    names = "|".join(words)
    commands = re.sub(rf"(?<![\w-])({names})(?![\w-])", lambda found: words[found[1]], block.commands)
    return replace(block, commands=_TO_THE_FIRST_FAILURE % commands)


def is_shown(shown: str, printed: str) -> bool:
    """Whether what was printed is what the page shows; ``…`` there stands for anything."""
    pattern = ".*".join(re.escape(part.strip()) for part in shown.split("…"))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def without_measures(text: str) -> str:
    """The same where times, other numbers and the width of columns do not count."""
    return " ".join(_NUMBER.sub("0", _DURATION.sub("0s", text)).split())
