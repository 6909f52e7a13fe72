"""Makes evidence of what everybody else has written down: nothing here was written by the controller."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from tests.chaos.evidence import Evidence, Removal, Start, Told, Write
from tests.chaos.load import Load
from tests.chaos.world import World, read_json_lines

_TAKEN = (200, 201, 204)


def collect(world: World, load: Load, before: dict[str, int], after: dict[str, int]) -> Evidence:
    """After everything has settled."""
    audit = read_json_lines(world.server.audit_log)
    evidence = Evidence(finals=load.finals(), before=before, after=after)
    evidence.writes = _writes(audit)
    evidence.removals = _removals(audit, {one.last.name: uid for uid, one in load.created.items() if one.last})
    evidence.starts = [start for pod in [*world.pods, *world.gone] for start in _starts(pod)]
    evidence.ended_containers = [run for pod in [*world.pods, *world.gone] for run in pod.ended]
    calls = world.control_plane.calls
    evidence.told = [
        Told(
            call.execution_id,
            str(call.body.get("status")),
            call.answered if isinstance(call.answered, int) else 0,
            call.at + world.monotonic_to_wall,
        )
        for call in calls
        if call.kind == "result"
    ]
    exits = [call for call in calls if call.kind == "exited" and call.answered in _TAKEN]
    evidence.exited = list({call.headers.get("Idempotency-Key", ""): call.body for call in exits}.values())
    last = {write.uid: write for write in evidence.writes}
    evidence.finals = [
        replace(
            final,
            phase=last[final.uid].phase,
            attempt=last[final.uid].attempt,
            finished_at=last[final.uid].at,
            reported=True,
        )
        if not final.present and not final.deleted_by_user and final.uid in last
        else final
        for final in evidence.finals
    ]
    return evidence


def _writes(audit: list[dict[str, Any]]) -> list[Write]:
    """Accepted ones in the order of their resourceVersions."""
    found = []
    for entry in audit:
        about = entry.get("objectRef") or {}
        if about.get("subresource") != "status" or entry.get("responseStatus", {}).get("code") != 200:
            continue
        status = (entry.get("requestObject") or {}).get("status") or {}
        metadata = (entry.get("responseObject") or {}).get("metadata") or {}
        if about.get("resource") == "executions" and "phase" in status and metadata:
            write = Write(metadata["uid"], status["phase"], status.get("attempt", 0), _time(entry))
            found.append((int(metadata["resourceVersion"]), write))
    return [write for _, write in sorted(found, key=lambda item: item[0])]


def _removals(audit: list[dict[str, Any]], uids: dict[str, str]) -> list[Removal]:
    return [
        Removal(uids[name], entry["user"]["username"] == "controller", _time(entry))
        for entry in audit
        if entry.get("verb") == "delete"
        and entry.get("responseStatus", {}).get("code") == 200
        and (name := (entry.get("objectRef") or {}).get("name", "")) in uids
    ]


def _starts(pod: Any) -> list[Start]:
    return [
        Start(str(record["execution_id"]), f"{pod.name}/{number}", 0.0)
        for number, path in enumerate(pod.logs)
        for record in read_json_lines(path)
        if record.get("event_type") == "execution_started"
    ]


def _time(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(str(entry["stageTimestamp"])).timestamp()
