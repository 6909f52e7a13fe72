"""Every command of ``docs/cli.md``, and every example in Python of ``docs/control-plane.md``, does what is shown."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller import names
from tests.integration.controller.apiserver import ROOT
from tests.integration.user.conftest import TENANT, Whole
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.sandbox
_STEP = re.compile(
    r"^```sh(?P<cluster> cluster)?\n(?P<commands>.*?)^```\n\n```text\n(?P<output>.*?)^```\n", re.MULTILINE | re.DOTALL
)
_PYTHON = re.compile(r"^```python\n(?P<code>.*?)^```\n", re.MULTILINE | re.DOTALL)
_MEASURED = re.compile(r"\b\d+\.\d+|\b\d+[sm]\b|\d+ bytes|[0-9a-f]{8}-[0-9a-f-]{27}")


@dataclass(frozen=True)
class Step:
    commands: str
    output: str


def blank(text: str) -> str:
    """Without what differs from run to run, and with it the width of columns."""
    return re.sub(r" {2,}", "  ", _MEASURED.sub("…", text))


@pytest.mark.timeout(600)
def test_every_command_prints_what_the_document_shows(whole: Whole, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    steps = [Step(found["commands"], found["output"]) for found in _STEP.finditer(text)]
    assert len(steps) == text.count("\n```sh") >= 12, "each block of commands is followed by what it prints"
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "KUBECONFIG": str(whole.tenant),
        "ISOLATION_MODE": "best-effort",
    }
    for step in steps:
        if "--cluster" in step.commands:
            time.sleep(1 - time.time() % 1)  # a list is in the order of creation, which is known to the second
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1\n{step.commands}"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
            check=False,
        )
        assert blank(done.stdout) == blank(step.output), step.commands
    path = names.executions_path(TENANT)
    for item in whole.server.request("GET", path)["items"]:
        whole.server.request("DELETE", f"{path}/{item['metadata']['name']}")


@pytest.mark.timeout(600)
def test_the_examples_in_python_print_what_their_comments_say(whole: Whole) -> None:
    text = (ROOT / "docs" / "control-plane.md").read_text().split("### In Python", 1)[1].split("\n### ", 1)[0]
    examples = [found["code"].replace("tenant-a", TENANT) for found in _PYTHON.finditer(text)]
    assert len(examples) == 4
    for code in examples:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "KUBECONFIG": str(whole.tenant)},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
            check=False,
        )
        said = re.findall(r"print\(.*\)  # (.*)$", code, re.MULTILINE)
        assert said
        assert (" ".join(done.stdout.split()), done.stderr) == (" ".join(said), "")


def test_every_reserved_exit_code_is_in_the_table() -> None:
    from sandbox_run import exit_codes

    table = (ROOT / "docs" / "cli.md").read_text().split("## Exit codes", 1)[1].split("\nA program", 1)[0]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    reserved = {value for name, value in vars(exit_codes).items() if name.isupper() and not name.startswith("_")}
    assert documented == reserved - {exit_codes.OK, exit_codes.FAILED, exit_codes.BROKEN_PIPE}
