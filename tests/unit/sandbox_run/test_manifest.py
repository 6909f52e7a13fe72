"""What a person is told whose manifest is not a valid Execution."""

from pathlib import Path

import pytest

from sandbox_run.errors import ManifestError
from sandbox_run.manifest import load_manifest

GOOD = """
apiVersion: sandbox-executor.dev/v1alpha1
kind: Execution
metadata: {name: x}
spec: {language: python, code: "def handler(event): return 1"}
"""


def test_a_valid_manifest_says_what_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD.replace("{name: x}", "{name: x, namespace: n, labels: {a: b}, annotations: {c: d}}"))
    wanted = load_manifest(path)
    assert (wanted.name, wanted.namespace, wanted.spec.timeout_seconds) == ("x", "n", 30)
    assert (wanted.labels, wanted.annotations) == ({"a": "b"}, {"c": "d"})


def test_options_replace_fields_of_the_manifest_and_variables_by_name(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD.replace("language", "env: [{name: A, value: a}, {name: B, value: b}], language"))
    env = [{"name": "B", "value": "new"}, {"name": "C", "value": "c"}]
    spec = load_manifest(path, {"timeoutSeconds": 5, "event": None, "env": env}).spec
    assert (spec.timeout_seconds, spec.event, spec.event_given) == (5, None, True)
    assert [(variable.name, variable.value) for variable in spec.env or ()] == [("A", "a"), ("B", "new"), ("C", "c")]
    with pytest.raises(ManifestError, match="spec.timeoutSeconds"):
        load_manifest(path, {"timeoutSeconds": 5000})


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
        load_manifest(path)
    assert says in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        load_manifest(tmp_path / "none.yaml")


def test_files_replace_those_of_the_manifest_by_path(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD.replace("language", "files: [{path: a, inline: a}, {path: b, inline: b}], language"))
    files = [{"path": "b", "inlineBase64": "/w=="}, {"path": "c", "inline": "c"}]
    found = load_manifest(path, {"files": files}).spec.files or []
    assert [(file.path, file.inline or file.inline_base64) for file in found] == [("a", "a"), ("b", "/w=="), ("c", "c")]
    with pytest.raises(ManifestError, match=r"spec\.files: one path of files is a directory of another"):
        load_manifest(path, {"files": [{"path": "a/x", "inline": ""}]})
