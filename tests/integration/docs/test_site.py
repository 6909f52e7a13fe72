"""The site is built without a network, asks no other host for anything, and refuses links that lead nowhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.docs.commands import DOCS
from tests.shell import ROOT

pytestmark = pytest.mark.timeout(300)


def build(pages: Path, into: Path) -> subprocess.CompletedProcess[str]:
    """As ``make check`` does, in a network namespace of its own where that can be had."""
    makefile = (ROOT / "Makefile").read_text()
    found = re.search(r"^SITE = \$\(VENV\)/bin/sphinx-build (.*) --doctree-dir \S+$", makefile, re.MULTILINE)
    assert found is not None
    can_be_alone = subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode == 0
    alone = ["unshare", "--net"] if can_be_alone else []
    command = [*alone, sys.executable, "-m", "sphinx", *found[1].split(), "-d", str(into / "doctrees"), "--quiet"]
    command += [str(pages), str(into / "site")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("site")
    done = build(DOCS, into)
    assert (done.returncode, done.stderr) == (0, "")
    return into / "site"


def test_every_page_is_on_the_site_and_in_its_contents(site: Path) -> None:
    contents = (site / "index.html").read_text() + (site / "decisions" / "index.html").read_text()
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).with_suffix(".html")
        assert (site / name).is_file()
        assert name.as_posix() == "index.html" or f'{name.name}"' in contents, name


def test_no_page_asks_another_host_for_anything(site: Path) -> None:
    for page in site.rglob("*.html"):
        asked = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(?:https?:)?//", page.read_text())
        asked += re.findall(r"<link\b[^>]*\bhref=\"(?:https?:)?//", page.read_text())
        assert asked == [], page.name
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text()) == [], style.name


def test_links_that_lead_nowhere_fail_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(DOCS / "conf.py", docs)
    shutil.copytree(DOCS / "_static", docs / "_static")
    (docs / "index.md").write_text(
        "# Home\n\n[a](gone.md) [b](other.md#gone) [c](#gone) [d](../gone.py)\n\n"
        "```{toctree}\n<!-- pages that are listed nowhere else -->\n```\n"
    )
    (docs / "other.md").write_text("# Other\n\n![picture](gone.svg)\n")
    done = build(docs, tmp_path)
    assert done.returncode != 0
    told = (
        "target not found: 'gone.md'",
        "local id not found in doc 'other': 'gone'",
        "target not found: 'gone'",
        "there is no ../gone.py in the repository",
        "image file not readable: gone.svg",
    )
    assert [words for words in told if words not in done.stderr] == [], done.stderr
