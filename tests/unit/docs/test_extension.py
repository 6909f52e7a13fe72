"""What the site's Sphinx extension makes of pages that the repository's readers see, too."""

from pathlib import Path

import pytest

from docsite.extension import REST_OF_PAGES, include_files, list_rest, resolve_links


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in (
        "docs/page.md",
        "docs/other.md",
        "docs/decisions/index.md",
        "docs/folder/page.md",
        "code/module.py",
        "NOTES.md",
    ):
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
        ("[d](decisions)", "[d](decisions/index.md)", "[d](decisions/index.md)"),
        ("[f](folder)", "f", "[f](https://host/x/docs/folder)"),
        ("[o](other.md#heading)", "[o](other.md#heading)", "[o](other.md#heading)"),
        ("[o](./other.md)", "[o](./other.md)", "[o](./other.md)"),
        ("[w](https://example.com/a/)", "[w](https://example.com/a/)", "[w](https://example.com/a/)"),
        ("`[a-z](b)` [m](../code/module.py)", "`[a-z](b)` m", "`[a-z](b)` [m](https://host/x/code/module.py)"),
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


def test_a_file_that_is_included_loses_its_title_and_keeps_its_links(repository: Path) -> None:
    (repository / "NOTES.md").write_text(
        "# Notes\n\n[o](docs/other.md#heading) [m](code/module.py) [w](https://e.com/a)\n"
    )
    page = repository / "docs" / "notes.md"
    assert include_files(page.read_text(), page) == (
        "# Notes\n\n\n[o](other.md#heading) [m](../code/module.py) [w](https://e.com/a)\n\n"
    )


def test_pages_that_nobody_lists_are_listed_and_empty_patterns_left_out() -> None:
    contents = f"```{{toctree}}\na\nfolder/*\nempty/*\nother/index\n{REST_OF_PAGES}\n```\n"
    pages = {"a", "b", "c", "folder/x", "other/index", "other/y"}
    assert list_rest(contents, pages) == "```{toctree}\na\nfolder/*\nother/index\nb\nc\n```\n"
