"""What a Kubernetes client reads to learn of this API: the group, its version, and its subresources.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from typing import Any, Final

from log_api.group import GROUP, GROUP_VERSION, KIND, RESOURCE, SUBRESOURCES, VERB, VERSION

Object = dict[str, Any]

AGGREGATED_TYPE: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_VERSION: Final = {"groupVersion": GROUP_VERSION, "version": VERSION}
_KIND: Final = {"group": "sandbox-executor.dev", "version": VERSION, "kind": KIND}


def wants_aggregated(accept: str) -> bool:
    """Whether a client takes the newer form, which tells everything at once."""
    wanted = {"g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"}
    return any(wanted <= {part.strip() for part in offer.split(";")} for offer in accept.split(","))


def build_groups() -> Object:
    """``/apis``."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]}


def build_group() -> Object:
    """``/apis/GROUP``."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group()}


def _group() -> Object:
    return {"name": GROUP, "versions": [_VERSION], "preferredVersion": _VERSION}


def build_resources() -> Object:
    """``/apis/GROUP/VERSION``."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": GROUP_VERSION,
        "resources": [
            {"name": f"{RESOURCE}/{each}", "singularName": "", "namespaced": True, **_KIND, "verbs": [VERB]}
            for each in SUBRESOURCES
        ],
    }


def build_aggregated() -> Object:
    """``/apis`` in the newer form. The resource itself is another group's: here it has no kind and no verbs, as
    the API server writes it for a group that lists subresources alone."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": GROUP},
                "versions": [
                    {
                        "version": VERSION,
                        "freshness": "Current",
                        "resources": [
                            {
                                "resource": RESOURCE,
                                "responseKind": {"group": "", "version": "", "kind": ""},
                                "scope": "Namespaced",
                                "singularResource": "",
                                "verbs": [],
                                "subresources": [
                                    {"subresource": each, "responseKind": _KIND, "verbs": [VERB]}
                                    for each in SUBRESOURCES
                                ],
                            }
                        ],
                    }
                ],
            }
        ],
    }
