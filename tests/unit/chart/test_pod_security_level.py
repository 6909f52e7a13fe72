"""The label that the notes tell to write, for each version of Kubernetes and each choice of profiles."""

import re
import shutil
from pathlib import Path

import pytest

from tests.unit.chart.conftest import CHART, Render

ON_THE_NODES = ("seccompProfile.installer.enabled=false", 'seccompProfile.localhostProfile="mine.json"')
LOADED = ('appArmorProfile.type="Localhost"', 'appArmorProfile.localhostProfile="mine"')
THE_RUNTIMES = ('appArmorProfile.type=""',)
LOADER = ('appArmorProfile.type="Localhost"', "appArmorProfile.installer.enabled=true")


@pytest.fixture(scope="module")
def chart_with_notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Helm prints notes only beside a cluster: here they are an object like any other."""
    copy = shutil.copytree(CHART, tmp_path_factory.mktemp("notes") / "chart")
    (copy / "templates" / "NOTES.txt").rename(copy / "files" / "NOTES.txt")
    wrapped = 'kind: Notes\nmetadata: {name: notes}\ntext: |-\n{{ tpl (.Files.Get "files/NOTES.txt") . | indent 2 }}\n'
    (copy / "templates" / "notes.yaml").write_text(wrapped)
    return copy


@pytest.mark.parametrize(
    ("version", "values", "level", "because"),
    [
        ("v1.34.4", (), "privileged", "Before Kubernetes 1.35"),
        ("v1.34.4", (*ON_THE_NODES, *LOADED), "privileged", "Before Kubernetes 1.35"),
        ("v1.35.0", (), "privileged", "profile installers"),
        ("v1.35.0", ON_THE_NODES, "privileged", "AppArmor type Unconfined"),
        ("v1.35.0", (*ON_THE_NODES, *LOADER), "privileged", "profile installers"),
        ("v1.35.0", LOADED, "privileged", "profile installers"),
        ("v1.35.0", (*ON_THE_NODES, *LOADED), "baseline", "From Kubernetes 1.35 on"),
        ("v1.36.1-eks-3", (*ON_THE_NODES, *THE_RUNTIMES), "baseline", "From Kubernetes 1.35 on"),
    ],
)
def test_notes_name_the_label_and_the_reason(
    render: Render, chart_with_notes: Path, version: str, values: tuple[str, ...], level: str, because: str
) -> None:
    notes = render(*values, version=version, chart=chart_with_notes).one("Notes", "notes")["text"]
    assert re.findall(r"pod-security\.kubernetes\.io/enforce=(\w+)", notes) == [level]
    assert because in " ".join(notes.split())
