"""What the API server and its clients learn of the group, and that a broken one takes nothing else with it."""

import asyncio
import time
from typing import Any

import pytest

from log_api.group import GROUP, VERSION, VERSION_PATH
from tests.integration.controller.apiserver import ApiError
from tests.integration.log_api.parts import API_SERVICE, OWN, Aggregated, log_path

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def test_the_group_is_listed_with_its_subresources(cluster: Aggregated) -> None:
    groups = {group["name"]: group for group in (await cluster.call("GET", "/apis"))["groups"]}
    assert groups[GROUP]["preferredVersion"] == {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
    assert (await cluster.call("GET", f"/apis/{GROUP}"))["kind"] == "APIGroup"
    listed = await cluster.call("GET", VERSION_PATH)
    assert [(r["name"], r["namespaced"], r["verbs"]) for r in listed["resources"]] == [
        ("executions/log", True, ["get"]),
        ("executions/outputs", True, ["get"]),
    ]


async def test_it_is_in_the_aggregated_discovery(cluster: Aggregated) -> None:
    found = await _eventually(lambda: _discovered(cluster), "in the aggregated discovery")
    (resource,) = found["versions"][0]["resources"]
    assert found["versions"][0]["freshness"] == "Current"
    assert resource["verbs"] == []
    assert [(sub["subresource"], sub["verbs"]) for sub in resource["subresources"]] == [
        ("log", ["get"]),
        ("outputs", ["get"]),
    ]


async def _discovered(cluster: Aggregated) -> Any:
    async with cluster.ask("/apis", accept=_AGGREGATED) as answer:
        document = await answer.json(content_type=None)
    return next((item for item in document["items"] if item["metadata"]["name"] == GROUP), None)


async def test_it_is_in_the_openapi_documents(cluster: Aggregated) -> None:
    path, other = (f"{VERSION_PATH}/namespaces/{{namespace}}/executions/{{name}}/{last}" for last in ("log", "outputs"))

    async def merged() -> Any:
        return path in (await cluster.call("GET", "/openapi/v2"))["paths"]

    await _eventually(merged, "in /openapi/v2")

    async def indexed() -> Any:
        found = await cluster.call("GET", "/openapi/v3")
        return found["paths"].get(VERSION_PATH.removeprefix("/"))

    entry = await _eventually(indexed, "in the index of /openapi/v3")
    document = await cluster.call("GET", entry["serverRelativeURL"])
    assert list(document["paths"]) == [path, other]


async def test_a_broken_one_hurts_its_own_group_alone_and_no_longer_than_it_lives(cluster: Aggregated) -> None:
    await asyncio.to_thread(cluster.log_api.stop)
    try:
        await cluster.wait_available("False")
        async with cluster.ask(log_path("any")) as refused:
            assert refused.status == 503
        assert (await cluster.call("GET", "/apis/sandbox-executor.dev/v1alpha1"))["resources"]
        await cluster.create("other-groups-work")
        others = [group["name"] for group in (await cluster.call("GET", "/apis"))["groups"]]
        assert "apps" in others

        async def stale() -> bool:
            found = await _discovered(cluster)
            return found is None or found["versions"][0].get("freshness") == "Stale"

        await _eventually(stale, "discovery says which group is stale")
        kept = await cluster.call("GET", API_SERVICE)
        await cluster.remove(API_SERVICE)

        async def gone() -> bool:
            return await _discovered(cluster) is None

        await _eventually(gone, "gone from discovery")
        await _eventually(lambda: _is_unknown(cluster), "no longer served")
    finally:
        await asyncio.to_thread(cluster.log_api.start)
    made = {**kept, "metadata": {"name": kept["metadata"]["name"]}}
    await cluster.call("POST", "/apis/apiregistration.k8s.io/v1/apiservices", {**made, "status": {}})
    await cluster.wait_available("True")
    assert (await cluster.refusal(log_path("any", OWN)))["code"] == 404


async def _is_unknown(cluster: Aggregated) -> bool:
    with pytest.raises(ApiError) as refused:
        await cluster.call("GET", VERSION_PATH)
    return refused.value.status == 404


async def _eventually(check: Any, what: str) -> Any:
    deadline = time.monotonic() + 60
    while not (found := await check()):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.3)
    return found
