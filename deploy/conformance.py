"""``python -m deploy.conformance``: what the chart renders, held against the schemas of its kinds by kubeconform.

For the default values and for each file in the chart's ``ci/`` (where chart-testing looks for them, too). helm and
kubeconform come from PATH and Kubernetes' schemas from ``KUBE_ASSETS_DIR``, as ``make check`` sets them; those of our
own kinds are made from the models at each run.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from contracts.crd import execution_crd, pool_crd
from devcluster.schemas import LOCATION, crd_schemas, write
from devcluster.testtools import SCHEMAS
from devcluster.versions import KUBERNETES

CHART: Final = Path(__file__).resolve().parent / "helm" / "sandbox-executor"


class NotConformant(Exception):
    """A manifest is not what the API server takes; the text has kubeconform's words."""


def value_files() -> list[Path]:
    """The sets of values that the chart is checked with, beside its defaults."""
    return sorted((CHART / "ci").glob("*-values.yaml"))


def render(values: Path | None = None) -> str:
    """The chart's manifests, definitions and hooks among them.

    Raises:
        NotConformant: helm refuses the values.
    """
    command = ["helm", "template", "sandbox-executor", str(CHART), "--include-crds", "--kube-version", f"v{KUBERNETES}"]
    return _output([*command, *(["--values", str(values)] if values else [])])


def check(manifests: Iterable[str]) -> str:
    """Holds YAML documents against the schemas; kubeconform's summary.

    Raises:
        NotConformant: at least one has a field that its kind does not have, a wrong type, or a kind without a schema.
    """
    with tempfile.TemporaryDirectory() as folder:
        for definition in (execution_crd(), pool_crd()):
            write(Path(folder), crd_schemas(definition))
        locations = [f"{os.environ['KUBE_ASSETS_DIR']}/{SCHEMAS}/{LOCATION}", f"{folder}/{LOCATION}"]
        words = [word for location in locations for word in ("-schema-location", location)]
        return _output(["kubeconform", "-strict", "-summary", *words], "\n---\n".join(manifests)).strip()


def _output(command: list[str], given: str = "") -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode != 0:
        raise NotConformant(f"{command[0]}: {(done.stdout + done.stderr).strip()}")
    return done.stdout


def main() -> int:
    """One line when all is well, else kubeconform's words and 1."""
    try:
        rendered = [render(), *(render(values) for values in value_files())]
        examples = [path.read_text() for path in sorted((CHART.parents[2] / "examples").glob("*.yaml"))]
        print(check([*rendered, *examples]))
    except NotConformant as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
