"""Every command in the documentation is run by a test, or says what it needs that is not here."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from contracts.execution import ExecutionSpec
from contracts.kube import API_VERSION, KubeModel
from contracts.pool import ExecutorPoolSpec
from tests.integration.docs.commands import (
    DOCS,
    NEEDS,
    NOT_RUN,
    PAGES,
    RUN,
    Block,
    blocks_of,
    find_unknown,
    is_shown,
    pages_with,
    read_blocks,
    run_blocks,
    where_run,
    without_measures,
    written_out,
)
from tests.shell import ROOT

ELSEWHERE = [page for page in PAGES if where_run(page) is not None]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.sandbox
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", pages_with(""), ids=name_of)
def test_the_commands_of_a_page_print_what_it_shows(page: Path) -> None:
    blocks = blocks_of(page, "")
    done = run_blocks(blocks, timeout_s=280.0)
    assert len(done) == len(blocks)
    for block, result in zip(blocks, done, strict=True):
        assert result.exit_code == 0, f"{block.where}: {result.output}"
        assert block.output is None or is_shown(block.output, result.output), f"{block.where}: {result.output}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_commands_says_what_it_needs(page: Path) -> None:
    assert find_unknown(page) == [], "write a language behind the fence: sh for commands, text for what is none"
    unknown = [f"{block.where}: sh {block.needs}" for block in read_blocks(page) if block.needs not in NEEDS]
    assert unknown == [], f"what may stand behind sh: {sorted(NEEDS)}"


@pytest.mark.parametrize("page", ELSEWHERE, ids=name_of)
def test_the_tests_that_a_page_names_speak_of_it(page: Path) -> None:
    tests = ROOT / str(where_run(page))
    sources = [tests] if tests.is_file() else sorted(tests.glob("*.py"))
    assert read_blocks(page)
    assert any(page.name in source.read_text() for source in sources)


def test_the_quickstart_has_tests_of_its_own() -> None:
    assert DOCS / "quickstart.md" in ELSEWHERE


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_commands_is_bash(page: Path) -> None:
    for block in read_blocks(page):
        checked = subprocess.run(["bash", "-n"], input=block.commands, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, ""), block.where


def test_every_block_is_run_by_a_test_or_says_why_not() -> None:
    """Those that are run, those that no test can run and those of pages with tests of their own are all there are."""
    fences = re.compile(r"^\s*[`~]{3,}(?:sh|bash|shell|console)\b", re.MULTILINE)
    there = Counter({page: len(fences.findall(page.read_text())) for page in PAGES})
    run = Counter(page for needs in RUN for page in pages_with(needs) for _ in blocks_of(page, needs))
    not_run = Counter(page for needs in NOT_RUN for page in PAGES for _ in blocks_of(page, needs))
    elsewhere = Counter(page for page in ELSEWHERE for needs in RUN for _ in blocks_of(page, needs))
    assert run + not_run + elsewhere == +there


def test_what_is_not_run_is_little() -> None:
    needs = Counter(block.needs for page in PAGES for block in read_blocks(page))
    assert needs[""] >= 15
    assert needs["cluster"] >= 20
    assert needs["own-cluster"] <= 3
    assert needs.keys() <= NEEDS.keys()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_that_a_page_names_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|[`$] ?| {4})make ([a-z][a-z0-9-]*)", page.read_text(), re.MULTILINE))
    assert named - targets == set()


def manifests_in(page: Path) -> list[dict[str, object]]:
    bodies = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    found = [document for body in bodies for document in yaml.safe_load_all(body)]
    return [one for one in found if isinstance(one, dict) and one.get("apiVersion") == API_VERSION]


def test_manifests_of_ours_in_the_pages_are_valid() -> None:
    specs: dict[str, type[KubeModel]] = {"Execution": ExecutionSpec, "ExecutorPool": ExecutorPoolSpec}
    found = [one for page in PAGES for one in manifests_in(page)]
    assert {one["kind"] for one in found} == specs.keys()
    assert len(found) >= 4
    for one in found:
        specs[str(one["kind"])].model_validate(one["spec"])


def test_a_block_in_no_language_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Words.\n\n```\nkubectl get pods\n```\n\n```text\nfine\n```\n")
    assert find_unknown(page) == ["page.md:3: ''"]


def test_commands_and_outputs_are_told_apart(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n\n```sh\necho a\n```\n\n```text\na\n```\n\n```console\n$ echo b\nb\n$ true\n```\n\n"
        "```sh cluster\nkubectl get exn\n```\n\nWords.\n\n```text\nnot its output\n```\n"
    )
    assert [(block.line, block.needs, block.commands, block.output) for block in read_blocks(page)] == [
        (3, "", "echo a\n", "a\n"),
        (11, "", "echo b\ntrue\n", "b\n"),
        (17, "cluster", "kubectl get exn\n", None),
    ]


def test_a_block_in_a_list_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("- Words:\n\n  ```sh\n  cat <<END\n    a\n  END\n  ```\n\n  ```text\n    a\n  ```\n\n- More.\n")
    assert [(block.commands, block.output) for block in read_blocks(page)] == [("cat <<END\n  a\nEND\n", "a\n")]


def test_a_failing_block_is_noticed_and_does_not_stop_those_after_it() -> None:
    failing, after = (Block("page.md", 1, "", commands, None) for commands in ("echo no; false", "echo yes"))
    first, second = run_blocks([failing, after], timeout_s=60.0)
    assert (first.output.strip(), first.exit_code) == ("no", 1)
    assert (second.output.strip(), second.exit_code) == ("yes", 0)


@pytest.mark.parametrize(
    ("commands", "printed", "works"),
    [
        ("echo POD of team-a NAMESPACE NAME-x POD-1\n", "executor-1 of ns ns NAME-x POD-1", True),
        ("echo a\nfalse\necho b\n", "a", False),
        ("false | cat\n", "", False),
        ("echo a | grep b\necho c\n", "c", True),
        ("echo a | grep --no-such-option b 2>&-\n", "", False),
    ],
)
def test_a_block_is_written_out_and_ends_where_it_fails(commands: str, printed: str, works: bool) -> None:
    words = {"NAME": "hello", "NAMESPACE": "ns", "POD": "executor-1", "team-a": "ns"}
    block = Block("page.md", 1, "cluster", commands, None)
    first, second = run_blocks([written_out(block, words), Block("page.md", 9, "", "echo next", None)], timeout_s=60.0)
    assert (first.output.strip(), first.exit_code == 0) == (printed, works)
    assert second.output.strip() == "next"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\n", "a\n", True),
        ("a…c\n", "a b\nc\n", True),
        ("…b…", "a b c", True),
        ("a\n", "a b\n", False),
        ("…x…", "a b c", False),
    ],
)
def test_what_is_printed_is_compared_with_what_is_shown(shown: str, printed: str, same: bool) -> None:
    assert is_shown(shown, printed) is same


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("NAME  AGE\nx     7s\n", "NAME   AGE\nx      1h12m\n", True),
        ("default   1   0.05s\n", "default   12   2.1s\n", True),
        ("x   1\n", "x   -1\n", False),
        ("x   1\n", "y   1\n", False),
        ("x   1s\n", "x   1\n", False),
    ],
)
def test_measures_do_not_count(shown: str, printed: str, same: bool) -> None:
    assert (without_measures(shown) == without_measures(printed)) is same
