"""``docs/quickstart.md`` does what it says (the seed's T102)."""

import json
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.quickstart.document import QUICKSTART, blank_measurements, read_steps, run_steps, stand_ins

pytestmark = pytest.mark.sandbox


@pytest.fixture
def directory() -> Iterator[Path]:
    """The uid that an executor drops to can reach it; the document's last step removes it."""
    made = Path(tempfile.mkdtemp(prefix="quickstart-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def _find_free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [listening.getsockname()[1] for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


@pytest.mark.timeout(300)
def test_every_step_prints_what_the_document_shows(directory: Path) -> None:
    steps = read_steps(QUICKSTART.read_text())
    assert sum(step.output is not None for step in steps) >= 8
    control_plane, executor = _find_free_ports(2)
    names = stand_ins(directory, {"8000": control_plane, "8080": executor})
    done = run_steps(steps, names)
    shown = [blank_measurements(step.output) if step.output is not None else "" for step in steps]
    assert [blank_measurements(each.output) for each in done] == shown
    assert {each.exit_code for each in done} == {0}
    assert not directory.exists()


@pytest.mark.parametrize("language", ["python", "javascript", "shell"])
def test_there_is_an_example_request_for_each_language(language: str) -> None:
    path = QUICKSTART.parents[1] / "examples" / "standalone" / f"{language}.json"
    assert json.loads(path.read_text())["language"] == language
    assert f"standalone/{language}.json" in QUICKSTART.read_text()
