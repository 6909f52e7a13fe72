"""What ``docker-compose.yml`` promises, read from the file; ``make compose-demo`` is what runs it."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from executor_runtime.settings import Settings
from mock_control_plane.settings import DEFAULT_PORT, load_settings

ROOT = Path(__file__).parents[3]
SERVICES = ("executor", "control-plane")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file, its anchors resolved."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_privileges_and_is_reached_from_this_machine_only(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert (service["user"], service["read_only"], service["cap_drop"]) == ("1000:1000", True, ["ALL"])
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["networks"] == ["local"]


@pytest.mark.parametrize("name", SERVICES)
def test_the_token_is_a_file_and_never_a_variable(compose: dict[str, Any], name: str) -> None:
    environment = compose["services"][name]["environment"]
    assert "INTERNAL_API_TOKEN" not in environment
    (secret,) = compose["services"][name]["secrets"]
    assert environment["INTERNAL_API_TOKEN_FILE"] == f"/run/secrets/{secret}"
    ignored = subprocess.run(
        ["git", "check-ignore", "--quiet", "--no-index", compose["secrets"][secret]["file"]], cwd=ROOT, check=False
    )
    in_the_open = (ROOT / compose["secrets"][secret]["file"]).exists() and ignored.returncode != 0
    assert not in_the_open


def test_the_executor_gets_its_seccomp_profile_and_variables_that_it_knows(compose: dict[str, Any]) -> None:
    executor = compose["services"]["executor"]
    (profile,) = [option for option in executor["security_opt"] if option.startswith("seccomp=")]
    assert (ROOT / profile.removeprefix("seccomp=")).is_file()
    known = {name.upper() for name in Settings.model_fields}
    assert {name.removesuffix("_FILE") for name in executor["environment"]} <= known


def test_the_executor_reports_to_where_the_control_plane_listens(compose: dict[str, Any]) -> None:
    url = compose["services"]["executor"]["environment"]["CONTROL_PLANE_URL"]
    assert url == f"http://control-plane:{load_settings({'INTERNAL_API_TOKEN': 'x'}).port}"
    assert compose["services"]["control-plane"]["ports"][0].endswith(f":{DEFAULT_PORT}")


def test_the_reference_has_a_row_for_every_setting() -> None:
    rows = [line for line in (ROOT / "docs" / "executor.md").read_text().splitlines() if line.startswith("| `")]
    documented = {line.split("`")[1] for line in rows}
    assert {name.upper() for name in Settings.model_fields} <= documented
