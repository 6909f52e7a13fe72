"""A leader that was stopped past its Lease and goes on says nothing to the Control Plane after its successor."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

from controller.__main__ import LOST_THE_LEASE
from tests.fakes.control_plane import FakeControlPlane
from tests.fakes.executor import FakeExecutor
from tests.integration.controller.apiserver import ApiServer
from tests.integration.controller.cluster import Cluster, Controller, eventually
from tests.integration.controller.conftest import make_controller, start_replica
from tests.integration.controller.service import Service

TOKEN = "token-of-the-control-plane"
_WAITING = 8


@pytest.fixture
async def control_plane() -> AsyncIterator[FakeControlPlane]:
    async with FakeControlPlane(tokens={TOKEN}) as started:
        yield started


@pytest.fixture
async def pair(
    api_server: ApiServer, controller: Controller, control_plane: FakeControlPlane, tmp_path: Path
) -> AsyncIterator[list[Controller]]:
    """A leader and a standby that tell the Control Plane."""
    await controller.stop()
    (tmp_path / "token").write_text(TOKEN)
    made: list[Controller] = []
    try:
        for name, role in (("a", "leader"), ("b", "standby")):
            (tmp_path / name).mkdir()
            replica = make_controller(api_server, tmp_path / name)
            replica.module = "tests.integration.controller.drowsy"
            if made:
                replica.internal_token, replica.execute_token = made[0].internal_token, made[0].execute_token
                replica.report_key = made[0].report_key
            made.append(replica)
            told = {"CONTROL_PLANE_URL": control_plane.url, "CONTROL_PLANE_TOKEN_FILE": str(tmp_path / "token")}
            await start_replica(replica, role, **told)
        yield made
    finally:
        for process in made:
            if process.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.signal(signal.SIGCONT)
                await process.stop(kill=True)
        await controller.start()


async def beat(url: str, executor: FakeExecutor, execution_id: str) -> int:
    """A heartbeat of an executor; 0 when its connection broke off."""
    headers = {"Authorization": f"Bearer {executor.runs[execution_id].request['report_token']}"}
    body = {"timestamp": "2026-01-15T12:00:00Z", "progress": {"percent": 50}}
    headers["Content-Type"] = "application/json"
    try:
        async with (
            ClientSession() as session,
            session.post(
                f"{url}/internal/executions/{execution_id}/heartbeat", data=json.dumps(body), headers=headers
            ) as answer,
        ):
            return answer.status
    except ClientError:
        return 0


async def test_nothing_of_a_frozen_leader_arrives_after_its_successors_word(
    cluster: Cluster, pair: list[Controller], service: Service, control_plane: FakeControlPlane
) -> None:
    leader, standby = pair
    await cluster.create_pool("default")
    async with FakeExecutor(control_plane_url=service.url, auto=False) as executor:
        await cluster.add_pod("pod-1", "default", executor.port, concurrency=_WAITING)
        ids = []
        for number in range(_WAITING):
            await cluster.create_execution(f"beating-{number}", timeoutSeconds=600)
            claimed = await cluster.wait_for_phase(f"beating-{number}", "Running")
            ids.append(claimed["status"]["executionId"])
        await eventually(lambda: len(executor.runs) == _WAITING, what="the dispatches")
        leader.signal(signal.SIGSTOP)
        # They wait in its socket, and it finds them when it goes on.
        waiting = [asyncio.create_task(beat(leader.url, executor, execution_id)) for execution_id in ids]
        await eventually(lambda: standby.role == "leader", what="the standby to lead")
        await eventually(lambda: service.target == standby.internal_port, what="the Service to follow")
        for execution_id in ids:
            assert await executor.end(execution_id) == 201
            await control_plane.wait_for("result", 1, execution_id)
        leader.signal(signal.SIGCONT)
        assert await leader.wait_for_exit() == LOST_THE_LEASE
        answers = await asyncio.gather(*waiting)
        print(f"\nthe heartbeats that waited were answered {answers}")
        assert control_plane.of("heartbeat") == []
        assert [call.answered for call in control_plane.of("result")] == [201] * _WAITING
