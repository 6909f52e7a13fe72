"""What can be taken away from the executor around its sandboxes: ends, bounds, artifacts, workspaces, removal.

Part of ``weakened``. Each stands for the obvious way to write the product, which an attack would then succeed against.
"""

import asyncio
import dataclasses
import json
import mimetypes
import os
import shutil
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import Any, Final

from contracts import files
from contracts.executor_api import ArtifactMetadata, ExecutionResult, InputFile
from contracts.files import PROGRESS_FILE
from executor_runtime import artifacts, capture, progress, service, workspace
from executor_runtime.artifacts import ArtifactNotFound, OpenArtifact, Snapshot
from executor_runtime.sandbox import drain, process
from executor_runtime.sandbox import start as starting
from executor_runtime.sandbox.drain import Drain
from executor_runtime.sandbox.errors import WorkspaceError
from executor_runtime.sandbox.model import Ending, Job, RawRun
from executor_runtime.sandbox.run import Run
from executor_runtime.sandbox.volume import VolumeWatch
from executor_runtime.workspace import Workspace, Workspaces
from tests.security.attempts.replacing import replace

_EXTRA_S: Final = 5.0
_STREAM_BYTES: Final = 16 * 2**20


# --- ends ---


def _timeout() -> None:
    """Five seconds more than asked for."""
    wait = Run.wait

    async def later(run: Run, cancelled: asyncio.Event) -> Ending:
        run.job = dataclasses.replace(run.job, timeout_s=run.job.timeout_s + _EXTRA_S)
        return await wait(run, cancelled)

    replace(Run, "wait", later)


def _sigkill() -> None:
    """A kill that user code can take no notice of."""
    replace(process, "send_kill", lambda _pidfd: None)


def _disk_watch() -> None:
    replace(VolumeWatch, "look", lambda _watch: None)


# --- output and results ---


def _output_bound() -> None:
    class Larger(Drain):
        def __init__(self, descriptor: int, limit: int, *, is_ours: bool = False, tail_bytes: int = 0) -> None:
            super().__init__(descriptor, max(limit, _STREAM_BYTES), is_ours=is_ours, tail_bytes=tail_bytes)

    replace(starting, "Drain", Larger)


def _read_pause() -> None:
    replace(drain, "_SMALL_READ_BYTES", 0)


def _exit_status() -> None:
    """What is said on the return channel counts, whatever became of the process."""
    judge = capture.judge

    def believe(job: Job, raw: RawRun) -> capture.Verdict:
        if (raw.returned or b"").startswith(b"returned\n"):
            raw = changed(raw, ending=Ending.EXITED, exit_code=0, signal=None)
        return judge(job, raw)

    replace(capture, "judge", believe)


def _own_channel() -> None:
    """Python's return value is between markers in its output, like that of other languages."""
    original = capture.capture

    def from_output(job: Job, raw: RawRun, found: list[ArtifactMetadata]) -> ExecutionResult:
        return original(changed(job, language="shell"), raw, found)

    replace(service, "capture", from_output)


def _json_bounds() -> None:
    replace(capture, "MAX_CONTAINERS", 2**63)
    replace(capture, "MAX_STREAM_JSON_BYTES", 2**63)


def _strict_json() -> None:
    replace(capture, "parse_value", lambda body: json.loads(body))


# --- progress ---


def _progress_file() -> None:
    """Whatever has the name is read."""

    class Naive(progress.Progress):
        def read(self) -> dict[str, Any] | None:
            try:
                with open(self._workspace.path / PROGRESS_FILE, errors="replace") as file:
                    return {"text": file.read(progress.MAX_PROGRESS_BYTES)}
            except OSError:
                return None

    replace(service, "Progress", Naive)


def _progress_values() -> None:
    replace(progress, "parse_progress", lambda content: json.loads(content))


def _progress_before() -> None:
    """What an earlier execution of the session left counts."""

    class Forgetful(progress.Progress):
        def __init__(self, found: Workspace) -> None:
            super().__init__(found)
            self._before = None

    replace(service, "Progress", Forgetful)


# --- artifacts ---


def _artifact_links() -> None:
    """Links are followed, and everything that is no directory is an artifact."""

    def collect(found: Workspace, _before: Snapshot) -> list[ArtifactMetadata]:
        return [artifacts.describe(path, size) for path, size in _all_files(found.path)]

    replace(artifacts, "collect", collect)
    replace(artifacts, "open_artifact", _open_by_path)


def _all_files(top: Path) -> Iterator[tuple[str, int]]:
    for directory, _, names in os.walk(top, followlinks=True):
        for name in names:
            path = os.path.join(directory, name)
            yield os.path.relpath(path, top), os.stat(path).st_size if os.path.exists(path) else 0
        if len(Path(directory).relative_to(top).parts) > 5:
            return


def _open_by_path(found: Workspace, path: str) -> OpenArtifact:
    try:
        descriptor = os.open(os.path.join(found.path, path), os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise ArtifactNotFound(path) from error
    return OpenArtifact(descriptor, os.fstat(descriptor).st_size)


def _artifact_path() -> None:
    """The path is made of what the URL says, once more decoded."""
    replace(artifacts, "open_artifact", lambda found, path: _open_by_path(found, urllib.parse.unquote(path)))


def _artifact_bounds() -> None:
    for name in ("MAX_ARTIFACTS", "MAX_DIRECTORIES", "MAX_LISTED_BYTES", "MAX_ENTRIES"):
        replace(artifacts, name, 2**63)


def _media_type() -> None:
    """A name is taken for a URL, which may say its own type."""

    def describe(path: str, size: int) -> ArtifactMetadata:
        guessed, _ = mimetypes.guess_type(path, strict=False)
        return ArtifactMetadata(path=path, size=size, mime_type=guessed or "application/octet-stream")

    replace(artifacts, "describe", describe)


# --- workspaces ---


def _new_workspace() -> None:
    """One for all but the first, which is the neighbour's."""
    create, created = Workspaces.create, list[Workspace]()

    def share(spaces: Workspaces, execution_id: str) -> Workspace:
        if not created:
            created.append(create(spaces, execution_id))
            return created[0]
        return spaces.open_session("everybody")

    replace(Workspaces, "create", share)


def _given_paths() -> None:
    """Any path will do."""
    replace(files.check_path, "__code__", (lambda path: path).__code__)


def _given_links() -> None:
    """They are written by their paths."""

    def write(found: Workspace, given: Sequence[InputFile]) -> None:
        for file in given:
            path = found.path / file.path
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.content)
            except OSError as error:
                raise WorkspaceError(f"cannot be written: {error.strerror}") from error

    replace(service, "write_files", write)


def _workspace_mode() -> None:
    """It is opened as it is."""

    def open_as_it_is(found: Workspace) -> int:
        try:
            return os.open(found.path, workspace.OPEN_DIRECTORY)
        except OSError as error:
            raise WorkspaceError(f"cannot be opened: {error.strerror}") from error

    replace(Workspace, "open", open_as_it_is)


def _removal() -> None:
    """As a shell script would."""

    def remove(_spaces: Workspaces, found: Workspace) -> None:
        for directory, directories, names in os.walk(found.path):
            for name in (*directories, *names):
                with_links = os.path.join(directory, name)
                if os.path.exists(with_links):
                    os.chmod(with_links, 0o700)
        shutil.rmtree(found.path)

    replace(Workspaces, "remove", remove)


def _no_removal() -> None:
    """Nothing is ever given back."""
    replace(Workspaces, "remove", lambda _spaces, _found: None)


PROTECTIONS: Final[Mapping[str, Callable[[], None]]] = {
    "timeout": _timeout,
    "sigkill": _sigkill,
    "disk_watch": _disk_watch,
    "output_bound": _output_bound,
    "read_pause": _read_pause,
    "exit_status": _exit_status,
    "own_channel": _own_channel,
    "json_bounds": _json_bounds,
    "strict_json": _strict_json,
    "progress_file": _progress_file,
    "progress_values": _progress_values,
    "progress_before": _progress_before,
    "artifact_links": _artifact_links,
    "artifact_path": _artifact_path,
    "artifact_bounds": _artifact_bounds,
    "media_type": _media_type,
    "new_workspace": _new_workspace,
    "given_paths": _given_paths,
    "given_links": _given_links,
    "workspace_mode": _workspace_mode,
    "removal": _removal,
    "no_removal": _no_removal,
}
"""Name → what takes it away; ``weakened`` has the rest."""
