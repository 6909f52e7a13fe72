"""Reads an Execution manifest as the API server would: the same models, the same messages."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from contracts.kube import API_VERSION, EXECUTION_KIND
from controller.resources import Execution, parse_execution
from sandbox_run.errors import ManifestError

_MAX_BYTES = 3 * 1_048_576
"""The API server's own limit on a request."""


def load_execution(path: Path) -> Execution:
    """The one Execution in a YAML or JSON file, given what the API server would give it (UID, creation time).

    Raises:
        ManifestError: no such file, not YAML, not exactly one Execution, or not a valid one.
    """
    body = _one_document(path)
    kind = f"{body.get('apiVersion')} {body.get('kind')}"
    if kind != f"{API_VERSION} {EXECUTION_KIND}":
        raise ManifestError(f"{path} holds {kind!r}; write apiVersion: {API_VERSION} and kind: {EXECUTION_KIND}")
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ManifestError(f"{path}: metadata.name is missing")
    stored = {
        **body,
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata.get("namespace", "default"),
            "uid": str(uuid.uuid4()),
            "creationTimestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "generation": 1,
        },
        "status": {},
    }
    if not isinstance(body.get("spec"), dict):
        raise ManifestError(f"{path}: spec is missing; it needs at least code and language")
    try:
        return parse_execution(stored)
    except ValidationError as error:
        raise ManifestError(f"{path} is not a valid Execution:\n{_explain(error)}") from None


def _one_document(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ManifestError(f"{path} is larger than {_MAX_BYTES} bytes, more than an API server takes")
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document is not None]
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} is not YAML: {error}") from None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ManifestError(f"{path} holds {len(documents)} documents; write exactly one Execution")
    document: dict[str, Any] = documents[0]
    return document


def _explain(error: ValidationError) -> str:
    lines = []
    for found in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(["spec", *(str(part) for part in found["loc"])])
        lines.append(f"  {where}: {found['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)
