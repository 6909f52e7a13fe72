"""Whether a user may read what an Execution has given: the API server says, anew for each request."""

from controller.clients.kube import Body, KubeClient
from controller.errors import KubeError
from log_api.errors import forbidden, unavailable
from log_api.group import GROUP, LOG, RESOURCE, VERB, VERSION
from log_api.identity import User

_PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


async def check_access(kube: KubeClient, user: User, namespace: str, name: str, subresource: str = LOG) -> None:
    """Returns when the user may.

    Raises:
        StatusError: 403, or 503 where the API server could not be asked.
    """
    try:
        answer = await kube.ask(_PATH, build_review(user, namespace, name, subresource))
    except KubeError as error:
        raise unavailable("the API server could not be asked who may read this", name) from error
    status = answer.get("status") or {}
    if status.get("allowed") is not True or status.get("denied"):
        raise forbidden(user.name, namespace, name, str(status.get("reason") or ""), subresource)


def build_review(user: User, namespace: str, name: str, subresource: str = LOG) -> Body:
    """The SubjectAccessReview."""
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra.items()},
            "resourceAttributes": {
                "namespace": namespace,
                "verb": VERB,
                "group": GROUP,
                "version": VERSION,
                "resource": RESOURCE,
                "subresource": subresource,
                "name": name,
            },
        },
    }
