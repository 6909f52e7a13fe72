"""What ConfigMaps and Secrets give to a request, and what is said where they do not."""

import base64
from typing import Any

import pytest

from contracts.executor_api import ExecutionLimits, ExecutionRequest
from controller.admission import Rejected, admit
from controller.errors import KubeError, KubeNotFound
from controller.inputs import Grant, make_request
from controller.resources import Body
from tests.unit.controller.builders import make_execution, make_pool

BINARY = bytes(range(256))
MIB = 1_048_576
OBJECTS: dict[str, Body] = {
    "/api/v1/namespaces/tenant/configmaps/data": {
        "data": {"a.csv": "ä;1\n", "empty": ""},
        "binaryData": {"b.bin": base64.b64encode(BINARY).decode()},
    },
    "/api/v1/namespaces/tenant/configmaps/large": {"data": {f"k{number}": "x" * MIB for number in range(5)}},
    "/api/v1/namespaces/tenant/secrets/keys": {"data": {"id_rsa": base64.b64encode(b"\xff\x00hush").decode()}},
}


class Reader:
    """Has these objects; ``asked`` are the paths that were read."""

    def __init__(self, failure: KubeError | None = None) -> None:
        self.asked: list[str] = []
        self._failure = failure

    async def get(self, path: str) -> Body:
        self.asked.append(path)
        if self._failure is not None:
            raise self._failure
        if path not in OBJECTS:
            raise KubeNotFound(404, "NotFound", path)
        return OBJECTS[path]


def from_map(path: str, key: str, name: str = "data") -> dict[str, Any]:
    return {"path": path, "configMapKeyRef": {"name": name, "key": key}}


def from_secret(path: str, key: str, name: str = "keys") -> dict[str, Any]:
    return {"path": path, "secretKeyRef": {"name": name, "key": key}}


async def make(
    *files: dict[str, Any], kube: Reader | None = None, limits: ExecutionLimits | None = None
) -> ExecutionRequest | Rejected:
    grant = Grant("token", limits or ExecutionLimits())
    return await make_request(make_execution(files=list(files)), grant, kube or Reader())


async def test_files_come_from_the_spec_config_maps_and_secrets_byte_by_byte() -> None:
    kube = Reader()
    request = await make(
        {"path": "inline.txt", "inline": "ü\0"},
        {"path": "inline.bin", "inlineBase64": base64.b64encode(BINARY).decode()},
        {"path": "empty", "inline": ""},
        from_map("in/a.csv", "a.csv"),
        from_map("in/b.bin", "b.bin"),
        from_map("in/empty", "empty"),
        from_secret(".ssh/id_rsa", "id_rsa"),
        kube=kube,
    )
    assert isinstance(request, ExecutionRequest)
    assert {file.path: file.content for file in request.files} == {
        "inline.txt": "ü\0".encode(),
        "inline.bin": BINARY,
        "empty": b"",
        "in/a.csv": "ä;1\n".encode(),
        "in/b.bin": BINARY,
        "in/empty": b"",
        ".ssh/id_rsa": b"\xff\x00hush",
    }
    assert kube.asked == [
        "/api/v1/namespaces/tenant/configmaps/data",
        "/api/v1/namespaces/tenant/secrets/keys",
    ]


async def test_without_files_a_request_has_none_and_nothing_is_read() -> None:
    kube = Reader()
    request = await make_request(make_execution(), Grant("token", ExecutionLimits()), kube)
    assert isinstance(request, ExecutionRequest)
    assert "files" not in request.model_dump(exclude_unset=True)
    assert kube.asked == []


@pytest.mark.parametrize(
    ("file", "reason", "says"),
    [
        (from_map("x", "none"), "ConfigMapKeyNotFound", "has no key 'none'"),
        (from_map("x", "a.csv", "none"), "ConfigMapNotFound", "no ConfigMap 'none' in namespace tenant"),
        (from_secret("x", "none"), "SecretKeyNotFound", "has no key 'none'"),
        (from_secret("x", "id_rsa", "none"), "SecretNotFound", "no Secret 'none' in namespace tenant"),
    ],
)
async def test_what_is_missing_is_named(file: dict[str, Any], reason: str, says: str) -> None:
    verdict = await make(file)
    assert isinstance(verdict, Rejected)
    assert (verdict.reason, says in verdict.message) == (reason, True)
    assert verdict.solution


async def test_what_may_not_be_read_is_said() -> None:
    verdict = await make(from_secret("x", "id_rsa"), kube=Reader(KubeError(403, "Forbidden", "no")))
    assert isinstance(verdict, Rejected)
    assert verdict.reason == "SecretForbidden"


async def test_files_that_are_too_large_together_are_rejected_without_a_word_of_what_they_hold() -> None:
    verdict = await make(*(from_map(str(number), f"k{number}", "large") for number in range(5)))
    assert verdict == Rejected(
        "InvalidRequest",
        "files: all files together are larger than 4194304 bytes: make them smaller",
        "correct files in a new Execution",
    )


async def test_files_that_the_workspace_may_not_hold_are_rejected() -> None:
    verdict = await make(from_map("x", "a.csv"), limits=ExecutionLimits(workspace_bytes=4))
    assert isinstance(verdict, Rejected)
    assert verdict.message == "files: the files hold 5 bytes, and the workspace may hold 4"


def test_a_file_from_a_secret_needs_a_namespace_where_that_is_allowed() -> None:
    execution = make_execution(files=[from_map("a", "a.csv"), from_secret(".ssh/id_rsa", "id_rsa")])
    verdict = admit(execution, make_pool(), frozenset({"elsewhere"}))
    assert isinstance(verdict, Rejected)
    assert verdict.reason == "SecretsNotAllowed"
    assert verdict.message.startswith("spec.files .ssh/id_rsa takes its value from a Secret")
    assert not isinstance(admit(execution, make_pool(), frozenset({"tenant"})), Rejected)
