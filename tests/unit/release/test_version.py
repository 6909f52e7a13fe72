"""One version in all places, and a way to change it in all of them."""

import shutil
from pathlib import Path

import pytest

from deploy.version import PLACES, ROOT, decided, read, write


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that state the version, elsewhere."""
    for name in PLACES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_all_places_state_the_version_of_pyproject() -> None:
    assert all(versions == {decided()} for versions in read().values())


def test_a_new_version_reaches_all_of_them_and_nothing_else(copy: Path) -> None:
    before = {name: (copy / name).read_text() for name in PLACES}
    write("10.2.0-rc.1", copy)
    assert decided(copy) == "10.2.0-rc.1"
    chart = (copy / "deploy/helm/sandbox-executor/Chart.yaml").read_text()
    assert "apiVersion: v2" in chart
    assert chart.count("10.2.0-rc.1") == 4, "version, appVersion and two images"
    write(decided(), copy)
    assert {name: (copy / name).read_text() for name in PLACES} == before


@pytest.mark.parametrize("name", [name for name in PLACES if name != "pyproject.toml"])
def test_a_place_that_states_another_one_is_named_with_what_to_run(copy: Path, name: str) -> None:
    text = (copy / name).read_text()
    (copy / name).write_text(text.replace(decided(), "0.0.7"))
    with pytest.raises(ValueError, match=rf"{name} has 0\.0\.7.*python -m deploy\.version {decided()}"):
        decided(copy)
    (copy / name).write_text("")
    with pytest.raises(ValueError, match=f"{name} has none"):
        decided(copy)


@pytest.mark.parametrize("wrong", ["1.2", "v1.2.3", "1.2.3+build", "01.2.3", "latest", ""])
def test_what_is_no_version_is_refused_and_changes_nothing(copy: Path, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"write MAJOR\.MINOR\.PATCH"):
        write(wrong, copy)
    assert decided(copy) == decided()
