"""A Sphinx extension: pages link to files of the repository, and every page is in the contents.

The pages are read on the site and in the repository alike. There a link to ``../controller/status.py`` opens the
file; the site has no such page, so it links to the page that includes the file, to ``repository_url`` or, where there
is neither, shows the words alone. That the file exists is checked either way.
"""

import posixpath
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from sphinx.application import Sphinx
from sphinx.util import logging

REST_OF_PAGES: Final = "<!-- pages that are listed nowhere else -->"
_LINK: Final = re.compile(
    r"`[^`\n]*`|(?<!!)\[(?P<words>(?:`[^`]*`|[^\]`])+)\]\((?P<path>[^)\s:#]+)(?P<rest>#[^)\s]*)?\)"
)
"""A link to a path, or code, which may look like one and is passed over."""
_FENCE: Final = re.compile(r"^(```+|~~~+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_INCLUDED: Final = re.compile(r"^```\{include\} (?P<path>\S+)\n```$", re.MULTILINE)
logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.add_config_value("repository_url", "", "html", str)
    app.connect("source-read", _read_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _read_page(app: Sphinx, name: str, source: list[str]) -> None:
    page = Path(app.srcdir) / f"{name}.md"
    text = source[0]
    if name == app.config.root_doc:
        text = list_rest(text, set(app.env.found_docs) - {name})
    text = include_files(text, page)
    text, lost = resolve_links(text, page, Path(app.srcdir), str(app.config.repository_url))
    for path in lost:
        logger.warning("there is no %s in the repository", path, location=name, type="docsite", subtype="lost")
    source[0] = text


def list_rest(text: str, pages: set[str]) -> str:
    """The contents with those pages put in that no list or pattern of them has, without patterns that match none."""
    listed = {line.strip() for block in _FENCE.finditer(text) for line in block[0].splitlines()}
    folders = {f"{posixpath.dirname(line)}/" for line in listed if line.endswith(("/*", "/index"))}
    rest = [page for page in sorted(pages) if page not in listed and f"{posixpath.dirname(page)}/" not in folders]
    empty = {line for line in listed if line.endswith("/*") and not any(page.startswith(line[:-1]) for page in pages)}
    text = "".join(line for line in text.splitlines(keepends=True) if line.strip() not in empty)
    return text.replace(REST_OF_PAGES, "\n".join(rest))


def resolve_links(text: str, page: Path, root: Path, url: str) -> tuple[str, list[str]]:
    """The text with links out of ``root`` (the pages' folder) and to folders changed, and paths that lead nowhere."""
    lost: list[str] = []
    included = find_included(root)

    def resolve(found: re.Match[str]) -> str:
        target = (page.parent / found["path"]).resolve()
        if not target.exists():
            lost.append(found["path"])
            return found[0]
        if target.is_relative_to(root) and (target / "index.md").is_file():
            return f"[{found['words']}]({found['path'].rstrip('/')}/index.md)"
        if target.is_relative_to(root) and target.is_file():
            return found[0]
        if target in included and included[target] != page:
            return f"[{found['words']}]({posixpath.relpath(included[target], page.parent)}{found['rest'] or ''})"
        if not url:
            return found["words"]
        inside = target.relative_to(root.parent).as_posix()
        return f"[{found['words']}]({url.rstrip('/')}/{inside}{found['rest'] or ''})"

    return _outside_fences(text, resolve), lost


@cache
def find_included(root: Path) -> dict[Path, Path]:
    """Each file of the repository that is a page by itself → that page."""
    pages = [(page, _INCLUDED.search(page.read_text())) for page in sorted(root.glob("*.md"))]
    return {(root / found["path"]).resolve(): page for page, found in pages if found is not None}


def include_files(text: str, page: Path) -> str:
    """The text with each included file put in, without its title, and with its links as they read from the page."""

    def include(found: re.Match[str]) -> str:
        source = (page.parent / found["path"]).resolve()

        def rebase(link: re.Match[str]) -> str:
            path = posixpath.relpath(source.parent / link["path"], page.parent.resolve())
            return f"[{link['words']}]({path}{link['rest'] or ''})"

        _, _, body = source.read_text().partition("\n")
        return _outside_fences(body, rebase)

    return _INCLUDED.sub(include, text)


def _outside_fences(text: str, change: Callable[[re.Match[str]], str]) -> str:
    """The text with each link changed that is not in a block of code."""

    def change_link(found: re.Match[str]) -> str:
        return found[0] if found["words"] is None else change(found)

    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(change_link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(change_link, text[end:])])
