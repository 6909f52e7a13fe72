"""What ``spec.files[].artifactRef`` names: an output of an earlier Execution of the same namespace, out of the store.

The namespace is the asking Execution's own and cannot be written; where the object lies is made of what the API server
says of the earlier Execution, and its content counts only with the SHA-256 that the user has written.
"""

import hashlib
from typing import Final

from pydantic import ValidationError

from contracts import bounds
from contracts.execution import ArtifactRef, StatusOutput
from controller import names
from controller.admission import Rejected
from controller.errors import StoreError, StoreNotFound
from controller.object_store import ObjectStore
from controller.resources import Body, Execution, parse_execution

_NOT_FOUND: Final = "ArtifactNotFound"


class Artifacts:
    """Reads them. ``store`` None: there is no object store."""

    def __init__(self, store: ObjectStore | None = None) -> None:
        self._store = store

    async def read(self, reference: ArtifactRef, body: Body | None) -> bytes | Rejected:
        """The content, or why there will never be one. ``body``: the earlier Execution; None: there is none.

        Raises:
            StoreError: the store does not answer now.
        """
        if self._store is None:
            return Rejected(
                "NoObjectStore",
                "artifactRef needs an object store, and the operator has none",
                "have its administrator set objectStore.url in the chart's values, or give the file in another way",
            )
        earlier = _parse(body)
        if earlier is None:
            return Rejected(
                _NOT_FOUND,
                f"there is no Execution {reference.execution!r} in this namespace",
                "name one that is there, or have it run again; its outputs go with it (ttlSecondsAfterFinished)",
            )
        output = _find(earlier, reference)
        if isinstance(output, Rejected):
            return output
        key = names.output_key(earlier.namespace, earlier.uid, earlier.status.attempt or 0, output.sha256)
        try:
            content = await _read(self._store, key, output.size)
        except StoreNotFound:
            return Rejected(
                _NOT_FOUND,
                f"{reference.name!r} of {reference.execution} is not in the object store any more",
                "have the Execution that made it run again",
            )
        if hashlib.sha256(content).hexdigest() != reference.sha256:
            return Rejected(
                "ArtifactDigestMismatch",
                f"what the object store has of {reference.name!r} of {reference.execution} is not of that SHA-256",
                "have the Execution that made it run again",
            )
        return content


def _parse(body: Body | None) -> Execution | None:
    try:
        return parse_execution(body) if body is not None else None
    except ValidationError:
        return None


def _find(earlier: Execution, reference: ArtifactRef) -> StatusOutput | Rejected:
    if not earlier.ended:
        return Rejected(
            _NOT_FOUND,
            f"{reference.execution} has not ended, so its outputs are not known yet",
            "create this Execution anew when it has",
        )
    output = next((each for each in earlier.status.outputs or () if each.name == reference.name), None)
    if output is None:
        return Rejected(
            _NOT_FOUND,
            f"{reference.execution} has no output {reference.name!r}",
            f"take a name and its sha256 from status.outputs: kubectl get exn {reference.execution} -o yaml",
        )
    if output.sha256 != reference.sha256:
        return Rejected(
            "ArtifactDigestMismatch",
            f"{reference.name!r} of {reference.execution} has the SHA-256 {output.sha256}, and another one is wanted",
            "write the sha256 that status.outputs has, if that content is meant",
        )
    if output.size > bounds.MAX_FILES_BYTES:
        return Rejected(
            "ArtifactTooLarge",
            f"{reference.name!r} of {reference.execution} has {output.size} bytes; files have at most "
            f"{bounds.MAX_FILES_BYTES} bytes together",
            "have the Execution that makes it split it, or make it smaller",
        )
    return output


async def _read(store: ObjectStore, key: str, size: int) -> bytes:
    found, pieces = await store.open(key)
    if found != size:
        raise StoreNotFound("the object has another size")
    content = bytearray()
    async for piece in pieces:
        content += piece
        if len(content) > size:
            raise StoreError("the object is longer than the store says")
    return bytes(content)
