"""Reads an Execution manifest as the API server would: the same models, the same messages."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from contracts.execution import ExecutionSpec
from contracts.kube import API_VERSION, EXECUTION_KIND
from sandbox_executor_client.options import explain
from sandbox_run.errors import ManifestError

_MAX_BYTES: Final = 3 * 1_048_576
"""The API server's own limit on a request."""
STDIN: Final = Path("-")
_LISTS: Final = {"env": "name", "files": "path"}
"""Fields that are replaced item by item, and what tells their items apart."""


@dataclass(frozen=True)
class Wanted:
    """What is to be run, wherever that is; ``name`` and ``namespace`` None: nobody has said."""

    spec: ExecutionSpec
    name: str | None = None
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def load_manifest(path: Path, overrides: Mapping[str, Any] | None = None) -> Wanted:
    """The one Execution in a YAML or JSON file, ``-`` for stdin.

    Args:
        path: the file.
        overrides: fields of the spec, by their names in a manifest, that replace what the file has; ``env`` replaces
            variable by variable, ``files`` file by file.

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
    if not isinstance(body.get("spec"), dict):
        raise ManifestError(f"{path}: spec is missing; it needs at least code and language")
    try:
        spec = ExecutionSpec.model_validate(_merge(body["spec"], overrides or {}))
    except ValidationError as error:
        raise ManifestError(f"{path} is not a valid Execution: {explain(error)}") from None
    return Wanted(
        spec, metadata["name"], metadata.get("namespace"), _texts(metadata, "labels"), _texts(metadata, "annotations")
    )


def _merge(spec: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**spec, **overrides}
    for name, key in _LISTS.items():
        if overrides.get(name) and isinstance(spec.get(name), list):
            given = {item[key] for item in overrides[name]}
            kept = [found for found in spec[name] if not (isinstance(found, dict) and found.get(key) in given)]
            merged[name] = [*kept, *overrides[name]]
    return merged


def _texts(metadata: Mapping[str, Any], name: str) -> dict[str, str]:
    return {str(key): str(value) for key, value in (metadata.get(name) or {}).items()}


def _one_document(path: Path) -> dict[str, Any]:
    try:
        text = _read(path)
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} is not YAML: {_in_one_line(error)}") from None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ManifestError(f"{path} holds {len(documents)} documents; write exactly one Execution")
    document: dict[str, Any] = documents[0]
    return document


def _read(path: Path) -> str:
    if path == STDIN:
        raw = sys.stdin.buffer.read(_MAX_BYTES + 1)
    else:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise ManifestError(f"{path} is larger than {_MAX_BYTES} bytes, more than an API server takes")
    return raw.decode()


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
