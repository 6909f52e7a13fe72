"""The API server's audit log: who touches Secrets, which a test asks afterwards (docs/security.md).

Secrets only, and without their content: everything else would cost what the benchmarks measure. A run that breaks
things (``tests/chaos``) asks for every status of an Execution too, as long as it lasts.
The policy lies on this machine and is mounted into the control plane's node, where kubeadm mounts it
into the API server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG_FILE = "/var/log/kubernetes/audit/audit.log"
"""On the control plane's node."""

_POLICY_FOLDER = "/etc/kubernetes/audit"
_FLAGS = {"audit-policy-file": f"{_POLICY_FOLDER}/policy.json", "audit-log-path": LOG_FILE}
_VOLUMES = [
    {"name": "audit-policy", "hostPath": _POLICY_FOLDER, "mountPath": _POLICY_FOLDER, "readOnly": True},
    {
        "name": "audit-log",
        "hostPath": str(Path(LOG_FILE).parent),
        "mountPath": str(Path(LOG_FILE).parent),
        "pathType": "DirectoryOrCreate",
    },
]


_SECRETS = {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets"]}]}
EXECUTIONS = (
    {
        "level": "RequestResponse",
        "verbs": ["update", "patch"],
        "resources": [{"group": "sandbox-executor.dev", "resources": ["executions/status"]}],
    },
    {
        "level": "Metadata",
        "verbs": ["delete"],
        "resources": [{"group": "sandbox-executor.dev", "resources": ["executions"]}],
    },
)
"""Rules: each status that was written, and each deletion."""


def policy(*further: Mapping[str, Any]) -> str:
    """The audit policy (``audit.k8s.io/v1``), as JSON; ``further``: rules beside that of Secrets."""
    document = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": True,
        "rules": [_SECRETS, *further, {"level": "None"}],
    }
    return json.dumps(document, indent=2) + "\n"


def node_fields(policy_file: Path) -> dict[str, Any]:
    """What kind's control-plane node needs. kind ignores patches of another version than its own document's."""
    as_list = [{"name": name, "value": value} for name, value in _FLAGS.items()]
    patches = [_patch("kubeadm.k8s.io/v1beta3", _FLAGS), _patch("kubeadm.k8s.io/v1beta4", as_list)]
    mount = {"hostPath": str(policy_file), "containerPath": _FLAGS["audit-policy-file"], "readOnly": True}
    return {"extraMounts": [mount], "kubeadmConfigPatches": patches}


def _patch(version: str, arguments: object) -> str:
    server = {"extraArgs": arguments, "extraVolumes": _VOLUMES}
    return json.dumps({"apiVersion": version, "kind": "ClusterConfiguration", "apiServer": server})
