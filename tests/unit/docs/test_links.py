"""Links in every Markdown file of the repository lead somewhere, headings included; the site checks its own again."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.docs.spoken import ROOT

_LINK = re.compile(r"(?<!!)\[(?:`[^`]*`|[^\]`])+\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```+|~~~+).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def markdown_files() -> list[Path]:
    """Those that git has or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).exists()]


def slugs_of(text: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", _FENCE.sub("", text), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")
        found.add(next(one for one in (slug, *(f"{slug}-{n}" for n in range(1, 99))) if one not in found))
    return found


def lost_links(page: Path) -> list[str]:
    """The links of a page that lead nowhere; those to other hosts are not followed."""
    lost = []
    text = re.sub(r"`[^`\n]*`", "`code`", _FENCE.sub("", page.read_text()))
    for groups in _LINK.findall(text):
        link = groups[0] or groups[1]
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        there = target.exists() and (not anchor or target.suffix != ".md" or anchor in slugs_of(target.read_text()))
        if not there:
            lost.append(link)
    return lost


@pytest.mark.parametrize("page", markdown_files(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert lost_links(page) == []


def test_links_are_found_and_lost_ones_told(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# One two: `three`\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](there.md) [`b`](there.md#one-two-three) [c](#here) [d](https://example.com/x)\n"
        "[e](gone.md) [f](there.md#gone) [g](#gone) ![h](gone.svg)\n"
        "```text\n[i](not-a-link.md)\n```\n`[j](neither.md)`\n"
    )
    assert lost_links(page) == ["gone.md", "there.md#gone", "#gone", "gone.svg"]
