"""``sandbox-run [run] FILE``: a program or a manifest, here or in a cluster."""

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import click

from contracts import bounds
from contracts.executor_api import LANGUAGES, Language
from contracts.output_events import Chunk, Gap
from sandbox_executor_client.options import RunOptions, as_file, make_spec
from sandbox_executor_client.program import ProgramKind
from sandbox_run import exit_codes, output, source
from sandbox_run.cluster import Follower, Target, run_in_cluster, submit
from sandbox_run.ended import Ended
from sandbox_run.entry import run_async
from sandbox_run.errors import InputError
from sandbox_run.manifest import Wanted, load_manifest
from sandbox_run.options import FORMATS, cluster_options, output_option
from sandbox_run.outputs import save_outputs
from sandbox_run.progress import progress

_PLAIN: Final = ("table", "raw")
"""Formats in which output is printed as it is."""


@dataclass(frozen=True)
class Where:
    """What ``click.Context.obj`` is: whether a command line is always about a cluster, as kubectl's is."""

    always_cluster: bool = False


@click.command(short_help="Run a program or a manifest.")
@click.argument("file", required=False, type=click.Path(allow_dash=True))
@click.option("-f", "--filename", type=click.Path(allow_dash=True), help="Manifest of an Execution; - for stdin.")
@click.option("-l", "--language", type=click.Choice(LANGUAGES), help="Else the file's suffix says it.")
@click.option("--event", metavar="JSON", help="What handler(event) gets; @FILE takes it from a file.")
@click.option("--stdin", "stdin_file", metavar="FILE", help="The program's standard input; - for this one's.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Variable of the program. May be repeated.")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="PATH[=SOURCE]",
    help="File that the program finds at PATH, with what SOURCE holds here; else PATH itself. May be repeated.",
)
@click.option("-t", "--timeout", metavar="30s", help="Time after which it is killed: 30s (default), 5m, at most 1h.")
@click.option("--script", "kind", flag_value="script", help="Python: call no handler, whatever the file defines.")
@click.option("--handler", "kind", flag_value="handler", help="Python: handler(event) must be there.")
@click.option("--cluster", is_flag=True, help="In the cluster of the kubeconfig, not on this machine.")
@click.option("--pool", metavar="NAME", help="ExecutorPool of the cluster.")
@click.option("--name", metavar="NAME", help="Name of the Execution.")
@click.option(
    "--follow/--no-follow",
    default=None,
    help="Print output as it comes, or all at the end. Default: as it comes on a terminal, unless -o says json or "
    "yaml; in a cluster at the end, and as it comes with its log API.",
)
@click.option(
    "--output-dir",
    "directory",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Cluster: save what its object store has of the Execution below DIR, as outputs --output-dir does.",
)
@click.option("--wait/--no-wait", default=True, help="Cluster: wait for the end, or print the name and go.")
@output_option(
    FORMATS, default=None, note=" table (default): the program's output, then what it returned; with -f: yaml."
)
@cluster_options
@click.pass_context
def run(
    ctx: click.Context,
    /,
    *,
    target: Target,
    cluster: bool,
    file: str | None,
    filename: str | None,
    wait: bool,
    follow: bool | None,
    directory: Path | None,
    shown: output.Format | None,
    **given: Any,
) -> int:
    """Run FILE, or standard input (-), in a sandbox: on this machine, or with --cluster as an Execution.

    The exit code is the program's own; docs/cli.md has the reserved ones.
    """
    in_cluster = cluster or ctx.ensure_object(Where).always_cluster
    _check_combination(in_cluster, target, wait, file, filename, {**given, "directory": directory})
    wanted = _wanted(file, filename, given)
    shown = shown or ("yaml" if filename and not follow else "table")
    _check_follow(follow, wait, shown)
    if not in_cluster:
        is_live = sys.stdout.isatty() and shown in _PLAIN if follow is None else follow
        ended = run_async(_show_here(wanted, shown) if is_live else _run_here(wanted))
        output.write_ended(ended, shown, is_shown=is_live)
        return exit_codes.of_execution(ended.execution)
    if not wait:
        return run_async(_submit(target, wanted, shown))
    if follow:
        ended, is_shown = run_async(_show_there(target, wanted, shown))
        output.write_ended(ended, shown, is_shown=is_shown)
    else:
        ended = run_async(_run_there(target, wanted))
        output.write_ended(ended, shown)
    if directory is not None:
        run_async(save_outputs(_in_namespace(target, wanted), ended.execution, directory))
    return exit_codes.of_execution(ended.execution)


def _check_combination(
    in_cluster: bool,
    target: Target,
    wait: bool,
    file: str | None,
    filename: str | None,
    given: Mapping[str, Any],
) -> None:
    if (file is None) == (filename is None):
        raise InputError("name one file to run, - for standard input, or a manifest with -f")
    for option in ("language", "kind"):
        if filename is not None and given[option] is not None:
            raise InputError(f"a manifest says its language and code itself: leave out --{given['kind'] or option}")
    sources = [word.partition("=")[2] for word in given["files"]]
    read = [file, filename, given["stdin_file"], (given["event"] or "").removeprefix("@"), *sources]
    if read.count(source.STDIN) > 1:
        raise InputError("standard input can be read once: name a file for one of them")
    if in_cluster:
        if given["directory"] is not None and not wait:
            raise InputError(
                "--output-dir waits for the end: leave out --no-wait, or fetch them later with outputs NAME"
            )
        return
    only_there = {
        "--pool": given["pool"],
        "--no-wait": not wait,
        "--output-dir": given["directory"],
        "--kubeconfig": target.kubeconfig,
        "--context": target.context,
        "--namespace": target.namespace,
    }
    for option, used in only_there.items():
        if used:
            raise InputError(f"{option} is about a cluster, and this would run on this machine: add --cluster")


def _check_follow(follow: bool | None, wait: bool, shown: output.Format) -> None:
    if follow and not wait:
        raise InputError("--follow waits for the end: leave out --no-wait, or follow it later with logs -f NAME")
    if follow and shown not in _PLAIN:
        raise InputError(f"--follow prints as it comes, -o {shown} at the end: leave one of them out")


def _wanted(file: str | None, filename: str | None, given: Mapping[str, Any]) -> Wanted:
    options: RunOptions = {}
    if given["event"] is not None:
        options["event"] = source.parse_event(given["event"])
    if given["stdin_file"] is not None:
        options["stdin"] = source.read_text(given["stdin_file"], "the file for stdin", bounds.MAX_STDIN_BYTES)
    if given["timeout"] is not None:
        options["timeout"] = source.parse_duration(given["timeout"])
    if given["env"]:
        options["env"] = source.parse_env(given["env"])
    if given["files"]:
        options["files"] = source.read_files(given["files"])
    if given["pool"] is not None:
        options["pool"] = given["pool"]
    if filename is not None:
        wanted = load_manifest(Path(filename), _overrides(options))
        return Wanted(wanted.spec, given["name"] or wanted.name, wanted.namespace, wanted.labels, wanted.annotations)
    assert file is not None
    options["language"] = source.find_language(file, _language(given["language"]))
    options["program"] = _kind(given["kind"])
    code = source.read_text(file, "the program", bounds.MAX_CODE_BYTES)
    return Wanted(make_spec(code, options), given["name"])


def _overrides(options: RunOptions) -> dict[str, Any]:
    """The same as fields of a manifest's spec."""
    names = {"event": "event", "stdin": "stdin", "timeout": "timeoutSeconds", "pool": "pool"}
    found: dict[str, Any] = {names[name]: value for name, value in options.items() if name in names}
    if "env" in options:
        found["env"] = [{"name": name, "value": value} for name, value in options["env"].items()]
    if "files" in options:
        found["files"] = [as_file(path, content) for path, content in options["files"].items()]
    return found


def _language(given: str | None) -> Language | None:
    return next((language for language in LANGUAGES if language == given), None)


def _kind(given: str | None) -> ProgramKind:
    kinds: tuple[ProgramKind, ...] = get_args(ProgramKind)
    return next((kind for kind in kinds if kind == given), "auto")


async def _run_here(wanted: Wanted) -> Ended:
    from sandbox_run.local import run_locally  # the controller and the executor's client: not for who asks a cluster

    async with progress("starting") as say:
        return await run_locally(wanted, say)


async def _show_here(wanted: Wanted, shown: output.Format) -> Ended:
    from sandbox_run.live import Live
    from sandbox_run.local import run_locally

    live = Live(raw=shown == "raw", has_markers=wanted.spec.language != "python")
    async with contextlib.AsyncExitStack() as waiting:
        say = await waiting.enter_async_context(progress("starting"))

        async def show(event: Chunk | Gap) -> None:
            await waiting.aclose()  # the line that says so makes room for the output
            await live.show(event)

        ended = await run_locally(wanted, say, show)
    await live.finish(ended.stdout)
    return ended


async def _show_there(target: Target, wanted: Wanted, shown: output.Format) -> tuple[Ended, bool]:
    """How it ended, and whether all of its output was shown."""
    from sandbox_run.live import Live

    live = Live(raw=shown == "raw", has_markers=wanted.spec.language != "python")
    async with contextlib.AsyncExitStack() as waiting, _in_namespace(target, wanted).client() as client:
        say = await waiting.enter_async_context(progress("asking the cluster"))

        async def show(event: Chunk | Gap) -> None:
            await waiting.aclose()  # the line that says so makes room for the output
            await live.show(event)

        follower = Follower(show, output.say)
        ended = await run_in_cluster(client, wanted, say, output.say, follower)
        if follower.is_shown:
            await live.finish(ended.stdout)
    return ended, follower.is_shown


async def _run_there(target: Target, wanted: Wanted) -> Ended:
    async with progress("asking the cluster") as say, _in_namespace(target, wanted).client() as client:
        return await run_in_cluster(client, wanted, say, output.say)


async def _submit(target: Target, wanted: Wanted, shown: output.Format) -> int:
    async with progress("asking the cluster"), _in_namespace(target, wanted).client() as client:
        created = (await submit(client, wanted)).first
    if shown in ("json", "yaml"):
        output.write_document(created.raw, shown)
    else:
        click.echo(created.name)
    return exit_codes.OK


def _in_namespace(target: Target, wanted: Wanted) -> Target:
    """A manifest's own namespace is as good as the option; two different ones are a mistake."""
    if wanted.namespace is None or wanted.namespace == target.namespace:
        return target
    if target.namespace is not None:
        raise InputError(f"the manifest is for namespace {wanted.namespace!r}, and --namespace is {target.namespace!r}")
    return Target(target.kubeconfig, target.context, wanted.namespace)
