"""Commands about Executions and pools that are in a cluster: each a few calls of the client, and words for it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Final, get_args

import click

from contracts.execution import Phase
from contracts.output_events import Chunk, Gap
from sandbox_executor_client import AsyncClient, Execution, Pool, WaitTimeout
from sandbox_run import exit_codes, output, tables
from sandbox_run.cluster import Follower, Say, Target, tell
from sandbox_run.describe import describe_execution
from sandbox_run.ended import Ended
from sandbox_run.entry import run_async
from sandbox_run.errors import InputError
from sandbox_run.options import FORMATS, cluster_options, complete_names, output_option
from sandbox_run.progress import progress

_CANCEL_WAIT_S: Final = 30.0
_PHASES: Final = click.Choice(get_args(Phase))
_name = click.argument("name", shell_complete=complete_names)


@click.command(short_help="What an Execution prints, or has printed.")
@_name
@click.option("-f", "--follow", is_flag=True, help="Print it as it comes, to its end; the cluster's log API is needed.")
@click.option("--wait", is_flag=True, help="Wait for its end.")
@output_option(click.Choice(["table", "raw"]), note=" raw: control sequences go to a terminal as they are.")
@cluster_options
def logs(name: str, follow: bool, wait: bool, shown: output.Format, target: Target) -> int:
    """Print what the Execution NAME has printed: its stdout to stdout, its stderr to stderr."""
    if follow:
        ended, is_shown = run_async(_follow(target, name, raw=shown == "raw"))
    else:
        ended, is_shown = run_async(_read_end(target, name, wait)), False
    if not is_shown:
        output.write_streams(ended, raw=shown == "raw")
    output.tell_end(ended, is_shown=is_shown)
    return exit_codes.OK


async def _follow(target: Target, name: str, *, raw: bool) -> tuple[Ended, bool]:
    """How it ended, and whether all of its output was shown."""
    from sandbox_run.live import Live

    async with AsyncExitStack() as waiting, target.client() as client:
        say = await waiting.enter_async_context(progress("asking the cluster"))
        first = await client.get(name)
        live = Live(raw=raw, has_markers=first.spec.get("language", "python") != "python")

        async def show(event: Chunk | Gap) -> None:
            await waiting.aclose()  # the line that says so makes room for the output
            await live.show(event)

        follower = Follower(show, output.say)
        async with follower.following(client.output(name)), aclosing(client.states(name)) as states:
            async for found in states:
                say(tell(found))
        ended = Ended.of(found)
        if follower.is_shown:
            await live.finish(ended.stdout)
    return ended, follower.is_shown


async def _read_end(target: Target, name: str, wait: bool) -> Ended:
    async with _asking(target) as (client, say):
        if not wait:
            found = await client.get(name)
            if not found.finished:
                raise InputError(
                    f"{tell(found)}; add --wait to see what it has printed once it has ended, or -f to follow it"
                )
            return Ended.of(found)
        async with aclosing(client.states(name)) as states:
            async for found in states:
                say(tell(found))
        return Ended.of(found)


@click.command(short_help="One Execution, in a line or whole.")
@_name
@output_option(FORMATS)
@cluster_options
def get(name: str, shown: output.Format, target: Target) -> int:
    """Show the Execution NAME."""
    _show([run_async(_get(target, name))], shown, one=True)
    return exit_codes.OK


async def _get(target: Target, name: str) -> Execution:
    async with _asking(target) as (client, _):
        return await client.get(name)


@click.command("list", short_help="Executions of the namespace.")
@click.option("--phase", type=_PHASES, help="Only those in this phase.")
@click.option("-l", "--selector", default="", metavar="LABELS", help="Label selector, as kubectl takes it.")
@output_option(FORMATS)
@cluster_options
def list_(phase: str | None, selector: str, shown: output.Format, target: Target) -> int:
    """List Executions, oldest first."""
    _show(run_async(_list(target, phase or "", selector)), shown, one=False)
    return exit_codes.OK


async def _list(target: Target, phase: str, selector: str) -> list[Execution]:
    async with _asking(target) as (client, _):
        found = await client.list(labels=selector, phase=phase)
        if not found:
            output.say(f"no Executions in namespace {client.namespace}")
        return found


def _show(found: list[Execution], shown: output.Format, *, one: bool) -> None:
    if shown in ("json", "yaml"):
        items = [dict(execution.raw) for execution in found]
        output.write_document(items[0] if one else {"apiVersion": "v1", "kind": "List", "items": items}, shown)
    elif found:
        rows = [tables.execution_row(execution, tables.now()) for execution in found]
        tables.write_rows(tables.EXECUTION_HEADING, rows, raw=shown == "raw")


@click.command(short_help="End Executions; what runs is killed.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_names)
@click.option("--wait/--no-wait", default=True, help="Wait until they have ended.")
@cluster_options
def cancel(names: tuple[str, ...], wait: bool, target: Target) -> int:
    """Cancel the Executions NAME..."""
    for line in run_async(_cancel(target, names, wait)):
        click.echo(line)
    return exit_codes.OK


async def _cancel(target: Target, names: tuple[str, ...], wait: bool) -> list[str]:
    async with _asking(target) as (client, _):
        before = [await _ask_to_end(client, name) for name in names]  # all are asked before one is waited for
        return [await _cancelled(client, execution, wait) for execution in before]


async def _ask_to_end(client: AsyncClient, name: str) -> Execution:
    found = await client.get(name)
    return found if found.finished else await client.cancel(name)


async def _cancelled(client: AsyncClient, execution: Execution, wait: bool) -> str:
    if execution.finished:
        return f"{execution.name} had ended before: {execution.phase}"
    if not wait:
        return f"{execution.name} is asked to end"
    try:
        ended = await client.wait(execution.name, timeout_s=_CANCEL_WAIT_S)
    except WaitTimeout:
        return f"{execution.name} is asked to end, and has not within {_CANCEL_WAIT_S:.0f} s"
    return f"{ended.name} has ended: {ended.phase}"


@click.command(short_help="How it went, and why it failed.")
@_name
@cluster_options
def describe(name: str, target: Target) -> int:
    """Say in words where the Execution NAME is, how it ended, why, and what to do about it."""
    click.echo(describe_execution(run_async(_get(target, name))), nl=False)
    return exit_codes.OK


@click.command(short_help="ExecutorPools of the cluster.")
@output_option(FORMATS)
@cluster_options
def pools(shown: output.Format, target: Target) -> int:
    """List the pools that Executions can name."""
    found = run_async(_pools(target))
    if shown in ("json", "yaml"):
        items = [dict(pool.raw) for pool in found]
        output.write_document({"apiVersion": "v1", "kind": "List", "items": items}, shown)
    elif found:
        tables.write_rows(tables.POOL_HEADING, [tables.pool_row(pool) for pool in found], raw=shown == "raw")
    else:
        output.say("there is no ExecutorPool in this cluster, so nothing can run: examples/pool.yaml is one")
    return exit_codes.OK


async def _pools(target: Target) -> list[Pool]:
    async with _asking(target) as (client, _):
        return list(await client.pools())


@asynccontextmanager
async def _asking(target: Target) -> AsyncIterator[tuple[AsyncClient, Say]]:
    async with progress("asking the cluster") as say, target.client() as client:
        yield client, say
