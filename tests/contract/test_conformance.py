"""Whatever is sent, the answer is one that the document describes, and never a 5xx (the seed's T099)."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.contract.conftest import TOKEN
from tests.integration.executor.running import RunningExecutor

LIMIT_S = 600

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(LIMIT_S + 60)]


def test_every_answer_is_one_that_the_document_describes(executor: RunningExecutor, tmp_path: Path) -> None:
    """schemathesis derives the inputs from the document, the same in every run: the examples, each field wrong in
    each way that it knows, undeclared methods, no token, and 100 random ones for each operation, one after the other,
    so that no 503 of a full queue hides anything.

    Left out is ``positive_data_acceptance``: to JSON schema 265.0 is an integer and half a surrogate pair a text.
    """
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{executor.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {TOKEN}"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "100"),
        *("--exclude-checks", "positive_data_acceptance"),
        *("--generation-deterministic", "--workers", "1"),
        *("--request-timeout", "120", "--continue-on-failure", "--warnings", "off", "--no-color"),
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 9" in run.stdout, run.stdout


def test_the_executor_is_as_it_was(client: httpx.Client) -> None:
    """After all of that; a run of the random code may still end."""
    assert client.get("/health").json()["status"] == "healthy"
    code = "def handler(event):\n    return event\n"
    request = {"code": code, "language": "python", "execution_id": "exec_20260116_contract", "event": 7}
    assert client.post("/execute", json=request).json()["return_value"] == 7
