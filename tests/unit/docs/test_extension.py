"""What the site's Sphinx extension makes of pages that the repository's readers see, too."""

from pathlib import Path

import pytest

from docsite.extension import REST_OF_PAGES, list_rest, resolve_links


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("docs/page.md", "docs/other.md", "docs/decisions/index.md", "code/module.py", "NOTES.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("# Heading\n")
    (tmp_path / "docs" / "notes.md").write_text("# Notes\n\n```{include} ../NOTES.md\n```\n")
    return tmp_path


def resolve(repository: Path, text: str, url: str = "") -> tuple[str, list[str]]:
    return resolve_links(text, repository / "docs" / "page.md", repository / "docs", url)


@pytest.mark.parametrize(
    ("text", "without_url", "with_url"),
    [
        ("[`m`](../code/module.py)", "`m`", "[`m`](https://host/x/code/module.py)"),
        ("[m](../code/module.py#L3)", "m", "[m](https://host/x/code/module.py#L3)"),
        ("[n](../NOTES.md#heading)", "[n](notes.md#heading)", "[n](notes.md#heading)"),
        ("[all](../code/)", "all", "[all](https://host/x/code)"),
        ("[d](decisions/)", "[d](decisions/index.md)", "[d](decisions/index.md)"),
        ("[o](other.md#heading)", "[o](other.md#heading)", "[o](other.md#heading)"),
        ("[o](./other.md)", "[o](./other.md)", "[o](./other.md)"),
        ("[w](https://example.com/a/)", "[w](https://example.com/a/)", "[w](https://example.com/a/)"),
        ("```text\n[m](../gone.py)\n```\n", "```text\n[m](../gone.py)\n```\n", "```text\n[m](../gone.py)\n```\n"),
    ],
)
def test_a_link_out_of_the_pages_becomes_words_or_a_link_to_the_repository(
    repository: Path, text: str, without_url: str, with_url: str
) -> None:
    assert resolve(repository, text) == (without_url, [])
    assert resolve(repository, text, "https://host/x/") == (with_url, [])


def test_a_link_to_a_file_that_is_not_there_is_told(repository: Path) -> None:
    assert resolve(repository, "[m](../code/gone.py) and [n](gone/)") == (
        "[m](../code/gone.py) and [n](gone/)",
        ["../code/gone.py", "gone/"],
    )


def test_pages_that_nobody_lists_are_listed_and_empty_patterns_left_out() -> None:
    contents = f"```{{toctree}}\na\nfolder/*\nempty/*\nother/index\n{REST_OF_PAGES}\n```\n"
    pages = {"a", "b", "c", "folder/x", "other/index", "other/y"}
    assert list_rest(contents, pages) == "```{toctree}\na\nfolder/*\nother/index\nb\nc\n```\n"
