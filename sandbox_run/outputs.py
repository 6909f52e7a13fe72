"""``sandbox-run outputs``, and ``run --output-dir``: what an Execution has in the cluster's object store.

User code has chosen the names. A file is only ever written below the directory that the person names, under
``safe_path`` of its name, and never over one that is there.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

import click

from sandbox_executor_client import AsyncClient, AsyncStoredOutput, Execution
from sandbox_run import exit_codes, output, tables
from sandbox_run.cluster import Say, Target, tell
from sandbox_run.entry import run_async
from sandbox_run.errors import InputError
from sandbox_run.options import FORMATS, cluster_options, complete_names
from sandbox_run.progress import progress
from sandbox_run.text import for_terminal

_HEADING: Final = ("NAME", "SIZE", "TYPE", "SHA256")


@click.command(short_help="What an Execution has in the object store: list, print or save it.")
@click.argument("name", shell_complete=complete_names)
@click.argument("files", nargs=-1, metavar="[FILE...]")
@click.option(
    "-d",
    "--output-dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Save them below this directory, all or those that FILE names; made if it is not there.",
)
@click.option("-o", "--output", "shown", type=FORMATS, default="table", show_default=True, help="Format of the list.")
@cluster_options
def outputs(name: str, files: tuple[str, ...], directory: Path | None, shown: output.Format, target: Target) -> int:
    """List what the object store has of the Execution NAME; with FILE print it; with --output-dir save it.

    FILE is a name of the list: stdout, stderr, returnValue, or artifacts/ and the path of a file.
    """
    if directory is not None:
        run_async(_save(target, name, files, directory))
    elif files:
        run_async(_print(target, name, files))
    else:
        _list(run_async(_get(target, name)), shown)
    return exit_codes.OK


async def _get(target: Target, name: str) -> Execution:
    async with progress("asking the cluster"), target.client() as client:
        return await client.get(name)


def _list(execution: Execution, shown: output.Format) -> None:
    if shown in ("json", "yaml"):
        items = (execution.raw.get("status") or {}).get("outputs") or []
        output.write_document({"name": execution.name, "namespace": execution.namespace, "outputs": items}, shown)
    elif execution.outputs:
        rows = [(row.name, _size(row.size, row.truncated), row.media_type, row.sha256) for row in execution.outputs]
        tables.write_rows(_HEADING, rows, raw=shown == "raw")
    else:
        output.say(_why_none(execution))


def _why_none(execution: Execution) -> str:
    if not execution.finished:
        return f"{tell(execution)}; its outputs are stored when it has ended"
    return f"the object store has nothing of {execution.name}: it made no files, and its status holds all of its output"


def _size(size: int, truncated: bool) -> str:
    return f"{size}, cut off" if truncated else str(size)


async def _save(target: Target, name: str, files: Sequence[str], directory: Path) -> None:
    await _save_all(target, await _get(target, name), files, directory)


async def save_outputs(target: Target, execution: Execution, directory: Path) -> None:
    """Saves all outputs of an Execution that has ended below a directory, and says where each is.

    Raises:
        InputError: there is no such output, or a file is there already.
        ClientError: one does not come, or is not what the status says.
    """
    if not execution.outputs:
        output.say(_why_none(execution))
        return
    await _save_all(target, execution, (), directory)


async def _save_all(target: Target, execution: Execution, files: Sequence[str], directory: Path) -> None:
    async with progress("asking the cluster") as say, target.client() as client:
        saved = await _fetch(client, execution, files, directory, say)
    for path in saved:
        output.say(f"saved {path}")


async def _fetch(
    client: AsyncClient, execution: Execution, files: Sequence[str], directory: Path, say: Say
) -> list[Path]:
    wanted = _choose(client, execution, files)
    if not wanted:
        raise InputError(_why_none(execution))
    saved: list[Path] = []
    try:
        os.makedirs(directory, exist_ok=True)
        for each in wanted:
            say(f"fetching {each.name} ({each.size} bytes)")
            saved.append(await each.save(directory))
    except OSError as error:
        raise InputError(f"{error.strerror or error}; {len(saved)} of {len(wanted)} were saved") from error
    return saved


def _choose(client: AsyncClient, execution: Execution, files: Sequence[str]) -> list[AsyncStoredOutput]:
    found = {each.name: each for each in client.outputs_of(execution)}
    for name in files:
        if name not in found:
            there = ", ".join(found) or "none"
            raise InputError(f"{execution.name} has no output {name!r}; there are: {there}")
    return [found[name] for name in files] if files else list(found.values())


async def _print(target: Target, name: str, files: Sequence[str]) -> None:
    async with target.client() as client:
        for each in _choose(client, await client.get(name), files):
            await _write(each)


async def _write(each: AsyncStoredOutput) -> None:
    """As it is into a pipe; a terminal gets text only, and no control sequences but colours."""
    if not sys.stdout.isatty():
        async with aclosing(each.pieces()) as pieces:
            async for piece in pieces:
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    content = await each.read()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise InputError(f"{each.name} is no text: save it with --output-dir, or send it into a pipe") from None
    sys.stdout.write(for_terminal(text))
