"""``python -m sandbox_run -f FILE``: runs it here, prints the Execution with its status, exits by its outcome."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from contracts.execution import ExecutionStatus, Phase
from contracts.kube import API_VERSION, EXECUTION_KIND
from controller.resources import Execution
from sandbox_run.errors import ManifestError, SandboxRunError
from sandbox_run.local import run_locally
from sandbox_run.manifest import load_execution

EXIT_CODES: Final[dict[Phase, int]] = {"Succeeded": 0, "Failed": 1, "TimedOut": 124, "Cancelled": 130, "Rejected": 2}
"""124 is what timeout(1) exits with; anything else is a failure of the infrastructure."""
EXIT_INFRASTRUCTURE: Final = 125
EXIT_USAGE: Final = 2


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="sandbox-run", description="Runs one Execution on this machine.")
    parser.add_argument("-f", "--filename", type=Path, required=True, help="manifest of an Execution")
    options = parser.parse_args()
    try:
        execution = load_execution(options.filename)
        status = asyncio.run(run_locally(execution))
    except SandboxRunError as error:
        print(f"sandbox-run: {error}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, ManifestError) else EXIT_INFRASTRUCTURE
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(_as_yaml(execution, status))
    return EXIT_CODES.get(status.phase or "Crashed", EXIT_INFRASTRUCTURE)


def _as_yaml(execution: Execution, status: ExecutionStatus) -> str:
    document = {
        "apiVersion": API_VERSION,
        "kind": EXECUTION_KIND,
        "metadata": {"name": execution.name, "namespace": execution.namespace},
        "status": status.to_kube(),
    }
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, as people do."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> Any:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


if __name__ == "__main__":
    sys.exit(main())
