"""What a person is told whose manifest is not a valid Execution."""

from pathlib import Path

import pytest

from sandbox_run.errors import ManifestError
from sandbox_run.manifest import load_execution

GOOD = """
apiVersion: sandbox-executor.dev/v1alpha1
kind: Execution
metadata: {name: x}
spec: {language: python, code: "def handler(event): return 1"}
"""


def test_a_valid_manifest_gets_what_the_api_server_would_give_it(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    execution = load_execution(path)
    assert (execution.name, execution.namespace, execution.spec.timeout_seconds) == ("x", "default", 30)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "is not YAML"),
        ("", "holds 0 documents; write exactly one Execution"),
        (f"{GOOD}---{GOOD}", "holds 2 documents"),
        ("kind: Pod\napiVersion: v1", "write apiVersion: sandbox-executor.dev/v1alpha1 and kind: Execution"),
        (GOOD.replace("metadata: {name: x}", ""), "metadata.name is missing"),
        (GOOD.replace("spec:", "specs:"), "spec is missing"),
        (GOOD.replace("python", "ruby"), "spec.language: Input should be 'python', 'javascript' or 'shell'"),
        (GOOD.replace("language", "timeoutSeconds: 0, language"), "spec.timeoutSeconds: Input should be greater"),
        (GOOD.replace("language", "typo: 1, language"), "spec.typo: Extra inputs are not permitted"),
        (GOOD.replace("language", "executionId: exec_1, language"), "for example exec_20260115_a1b2c3d4"),
    ],
)
def test_a_bad_manifest_is_refused_with_what_to_write(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError) as refused:
        load_execution(path)
    assert says in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        load_execution(tmp_path / "none.yaml")
