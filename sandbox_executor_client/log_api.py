"""What all reading through the operator's log API has in common: where it is, and what is done when it is not there."""

from typing import Final

from contracts.kube import EXECUTION_PLURAL, GROUP, VERSION
from sandbox_executor_client.errors import NotFound, NotInstalled
from sandbox_executor_client.kube import KubeApi

_GROUP_PATH: Final = f"/apis/subresources.{GROUP}"
PAUSES_S: Final = (0.1, 0.3, 1.0, 3.0, *[10.0] * 5)
"""Between tries that nothing came of: longer than a node that is busy takes to begin another pod of the log API."""


def subresource_path(namespace: str, name: str, subresource: str) -> str:
    """Of an Execution."""
    return f"{_GROUP_PATH}/{VERSION}/namespaces/{namespace}/{EXECUTION_PLURAL}/{name}/{subresource}"


async def check_installed(api: KubeApi, absent: str) -> None:
    """For one who is refused: what is not there, nobody may read either.

    Raises:
        NotInstalled: it is not there; in the words of ``absent``.
    """
    try:
        await api.get(_GROUP_PATH)
    except NotFound as error:
        raise NotInstalled(absent, request_id=error.request_id) from None
