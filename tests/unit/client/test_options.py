"""What ``run`` makes of the files that it is given."""

import pytest

from sandbox_executor_client import ArtifactRef, ConfigMapKeyRef, InvalidExecution, SecretKeyRef
from sandbox_executor_client.options import FileContent, make_spec


def test_files_are_text_where_they_can_be_and_references_where_they_are() -> None:
    given: dict[str, FileContent] = {
        "text": "ü",
        "text-bytes": "ü".encode(),
        "binary": b"\xff\x00",
        "map": ConfigMapKeyRef(name="m", key="k"),
        "secret": SecretKeyRef(name="s", key="k"),
        "artifact": ArtifactRef(execution="e", name="artifacts/a", sha256="0" * 64),
    }
    assert make_spec("x", {"language": "shell", "files": given}).to_kube()["files"] == [
        {"path": "text", "inline": "ü"},
        {"path": "text-bytes", "inline": "ü"},
        {"path": "binary", "inlineBase64": "/wA="},
        {"path": "map", "configMapKeyRef": {"name": "m", "key": "k"}},
        {"path": "secret", "secretKeyRef": {"name": "s", "key": "k"}},
        {"path": "artifact", "artifactRef": {"execution": "e", "name": "artifacts/a", "sha256": "0" * 64}},
    ]
    assert "files" not in make_spec("x", {"language": "shell", "files": {}}).to_kube()


def test_a_path_that_cannot_be_is_named() -> None:
    with pytest.raises(InvalidExecution, match=r"spec\.files\.0\.path: a file's path is relative to the workspace"):
        make_spec("x", {"language": "shell", "files": {"/etc/passwd": "x"}})
