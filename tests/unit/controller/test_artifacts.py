"""Outputs of earlier Executions as files of a later one, and what is said where they cannot be."""

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.executor_api import ExecutionLimits, ExecutionRequest
from controller import names
from controller.admission import Rejected
from controller.artifacts import Artifacts
from controller.errors import KubeNotFound, StoreError
from controller.inputs import Grant, make_request
from controller.object_store import ObjectStore, Place
from controller.resources import Body
from tests.unit.controller.builders import make_execution

MIB = 1_048_576
CONTENT = bytes(range(256))
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def make_body(*outputs: dict[str, Any], phase: str = "Succeeded", uid: str = "uid-earlier") -> Body:
    return {
        "metadata": {
            "name": "earlier",
            "namespace": "tenant",
            "uid": uid,
            "resourceVersion": "9",
            "creationTimestamp": "2026-01-15T12:00:00Z",
        },
        "spec": {"code": "pass", "language": "python"},
        "status": {"phase": phase, "attempt": 2, "outputs": list(outputs)},
    }


def row(name: str = "artifacts/a", sha256: str = SHA256, size: int = len(CONTENT), **fields: Any) -> dict[str, Any]:
    # Where it says that it lies is not where it is looked for.
    return {"name": name, "sha256": sha256, "size": size, "uri": "s3://elsewhere/of/another/tenant", **fields}


class Kube:
    """Has one Execution, or none."""

    def __init__(self, body: Body | None) -> None:
        self._body = body

    async def get(self, path: str) -> Body:
        if self._body is None or path != names.execution_path("tenant", "earlier"):
            raise KubeNotFound(404, "NotFound", path)
        return self._body


@pytest.fixture
async def store(tmp_path: Path) -> ObjectStore:
    made = ObjectStore(Place(f"file://{tmp_path}"))
    await put(made, CONTENT)
    return made


async def put(store: ObjectStore, content: bytes, key: str = "") -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    digest = hashlib.sha256(content).hexdigest()
    await store.write(key or names.output_key("tenant", "uid-earlier", 2, digest), pieces())


async def make(
    store: ObjectStore | None, body: Body | None, name: str = "artifacts/a", sha256: str = SHA256
) -> ExecutionRequest | Rejected:
    reference = {"execution": "earlier", "name": name, "sha256": sha256}
    execution = make_execution(files=[{"path": "in/a", "artifactRef": reference}])
    return await make_request(execution, Grant("token", ExecutionLimits()), Kube(body), Artifacts(store))


async def test_its_content_is_a_file_of_the_request(store: ObjectStore) -> None:
    request = await make(store, make_body(row("stdout", "0" * 64, 7), row()))
    assert isinstance(request, ExecutionRequest)
    assert [(file.path, file.content) for file in request.files] == [("in/a", CONTENT)]
    assert base64.b64encode(CONTENT).decode() in request.model_dump_json()


async def test_four_mib_fit(store: ObjectStore) -> None:
    content = bytes(4 * MIB)
    await put(store, content)
    digest = hashlib.sha256(content).hexdigest()
    request = await make(store, make_body(row(sha256=digest, size=len(content))), sha256=digest)
    assert isinstance(request, ExecutionRequest)
    assert request.files[0].content == content


@pytest.mark.parametrize(
    ("body", "reason", "says"),
    [
        (None, "ArtifactNotFound", "there is no Execution 'earlier' in this namespace"),
        (make_body(row(), phase="Running"), "ArtifactNotFound", "has not ended"),
        (make_body(row("artifacts/b")), "ArtifactNotFound", "has no output 'artifacts/a'"),
        (make_body(row(sha256="1" * 64)), "ArtifactDigestMismatch", "has the SHA-256 1111"),
        (make_body(row(size=4 * MIB + 1)), "ArtifactTooLarge", "has 4194305 bytes"),
        (make_body(row(), uid="uid-another"), "ArtifactNotFound", "not in the object store any more"),
        (make_body(row(size=255)), "ArtifactNotFound", "not in the object store any more"),
    ],
)
async def test_what_cannot_be_had_is_refused(store: ObjectStore, body: Body | None, reason: str, says: str) -> None:
    refused = await make(store, body)
    assert isinstance(refused, Rejected)
    assert refused.reason == reason
    assert says in refused.message
    assert refused.solution


async def test_content_that_was_changed_in_the_store_is_refused(store: ObjectStore) -> None:
    await put(store, bytes(256), names.output_key("tenant", "uid-earlier", 2, SHA256))
    refused = await make(store, make_body(row()))
    assert isinstance(refused, Rejected)
    assert refused.reason == "ArtifactDigestMismatch"


async def test_without_a_store_it_is_refused() -> None:
    refused = await make(None, make_body(row()))
    assert isinstance(refused, Rejected)
    assert refused.reason == "NoObjectStore"
    assert "objectStore.url" in refused.solution


async def test_a_store_that_does_not_answer_is_asked_again_later() -> None:
    place = Place("s3://bucket", endpoint="http://127.0.0.1:9", region="us-east-1", allow_http=True)
    with pytest.raises(StoreError):
        await make(ObjectStore(place), make_body(row()))
