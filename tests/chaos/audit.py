"""What the API server's audit log says about Executions: every accepted status, and every deletion."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from tests.chaos.evidence import Evidence, Removal, Write
from tests.chaos.load import Load

Entry = dict[str, Any]


def collect(entries: list[Entry], load: Load, controller: str, evidence: Evidence) -> Evidence:
    """Completes the evidence. ``controller``: its name as a user of the API server."""
    evidence.writes = _writes(entries)
    names = {one.last.name: uid for uid, one in load.created.items() if one.last}
    evidence.removals = _removals(entries, names, controller)
    last = {write.uid: write for write in evidence.writes}
    for final in load.finals():
        if not final.present and not final.deleted_by_user and final.uid in last:
            write = last[final.uid]
            final = replace(final, phase=write.phase, attempt=write.attempt, finished_at=write.at, reported=True)
        evidence.finals.append(final)
    return evidence


def _writes(entries: list[Entry]) -> list[Write]:
    """Accepted ones in the order of their resourceVersions."""
    found = []
    for entry in entries:
        about = entry.get("objectRef") or {}
        if about.get("subresource") != "status" or entry.get("responseStatus", {}).get("code") != 200:
            continue
        status = (entry.get("requestObject") or {}).get("status") or {}
        metadata = (entry.get("responseObject") or {}).get("metadata") or {}
        if about.get("resource") == "executions" and "phase" in status and metadata:
            write = Write(metadata["uid"], status["phase"], status.get("attempt", 0), _time(entry))
            found.append((int(metadata["resourceVersion"]), write))
    return [write for _, write in sorted(found, key=lambda item: item[0])]


def _removals(entries: list[Entry], uids: dict[str, str], controller: str) -> list[Removal]:
    return [
        Removal(uids[name], entry["user"]["username"] == controller, _time(entry))
        for entry in entries
        if entry.get("verb") == "delete"
        and entry.get("responseStatus", {}).get("code") == 200
        and (name := (entry.get("objectRef") or {}).get("name", "")) in uids
    ]


def _time(entry: Entry) -> float:
    return datetime.fromisoformat(str(entry["stageTimestamp"])).timestamp()
