"""The security page says of RBAC and of the seccomp profile what is really installed."""

import re
import shlex
from pathlib import Path

import pytest

from deploy.seccomp.calls import REFUSED
from deploy.seccomp.profile import SANDBOX_BUILDING
from tests.unit.chart.conftest import KUBERNETES_VERSION, REPOSITORY, Manifest, Render, RunHelm

SECURITY = (REPOSITORY / "docs" / "security.md").read_text()
INSTALL = (REPOSITORY / "docs" / "install.md").read_text()


def section(title: str) -> str:
    return SECURITY.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The body rows of the tables in the text, cell by cell."""
    found: list[list[str]] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if set(cells[0]) == {"-"}:
            found.pop()  # what stands above the rule is the head
        elif line.startswith("|"):
            found.append(cells)
    return found


def documented(heading: str) -> dict[str, set[str]]:
    """Resource → verbs in the table below this line."""
    table = section("What the controller may do").split(f"{heading}\n\n", 1)[1].split("\n\n", 1)[0]
    return {resource: set(verbs.split(", ")) for resource, verbs, _ in rows(table)}


def granted(role: Manifest) -> dict[str, set[str]]:
    return {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]}


def test_every_verb_is_documented_and_every_documented_verb_is_granted(render: Render) -> None:
    chart = render('secretNamespaces=["tenant-a"]')
    controller = "sandbox-executor-controller"
    assert documented("Everywhere:") == granted(chart.one("ClusterRole", controller))
    assert documented("In its own namespace:") == granted(chart.one("Role", controller))
    assert documented("In each of `secretNamespaces`:") == granted(chart.one("Role", f"{controller}-secrets"))


def test_every_extra_call_of_the_profile_is_explained() -> None:
    first_table = section("The seccomp profile of executor pods").split("Each but", 1)[0]
    assert {row[0].strip("`") for row in rows(first_table)} == set(SANDBOX_BUILDING)


def test_calls_that_are_said_to_be_refused_are() -> None:
    second_table = section("The seccomp profile of executor pods").split("Below the default profile it refuses:", 1)[1]
    named = {name for row in rows(second_table) for name in re.findall(r"`([a-z_0-9]+)`", row[0])}
    assert named - set(REFUSED) == {"socket", "clone3"}


def test_commands_name_files_and_roles_that_exist(render: Render) -> None:
    for path in re.findall(r"(?:-f |\]\(\.\./)([\w./-]+)", INSTALL):
        assert (REPOSITORY / path).exists(), path
    roles = {role["metadata"]["name"] for role in render().all("ClusterRole")}
    assert set(re.findall(r"--clusterrole=([\w-]+)", INSTALL)) <= roles


def helm_commands() -> list[tuple[Path, list[str]]]:
    """Each ``helm install`` and ``helm upgrade`` in a block of commands of the pages, word by word."""
    found = []
    for page in sorted((REPOSITORY / "docs").rglob("*.md")):
        for block in re.findall(r"^```(?:sh|console)[^\n]*\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if re.match(r"(?:\$ )?helm (?:install|upgrade) ", line):
                    found.append((page, shlex.split(line.removeprefix("$ "), comments=True)))
    return found


@pytest.mark.parametrize(
    ("page", "words"), helm_commands(), ids=lambda value: value.stem if isinstance(value, Path) else ""
)
def test_the_chart_takes_what_helm_is_told_in_the_pages(page: Path, words: list[str], run_helm: RunHelm) -> None:
    words = ["deploy/helm/sandbox-executor" if word == "…" else word for word in words]
    sets = [
        word
        for flag, value in zip(words, words[1:], strict=False)
        if flag.startswith("--set")
        for word in (flag, value)
    ]
    assert "deploy/helm/sandbox-executor" in words
    ended = run_helm("template", "x", "deploy/helm/sandbox-executor", "--kube-version", KUBERNETES_VERSION, *sets)
    assert ended.returncode == 0, f"{page}: {ended.stderr}"


def test_commands_for_helm_are_found() -> None:
    assert len(helm_commands()) >= 6
