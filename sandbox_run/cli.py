"""The command lines ``sandbox-run`` and ``kubectl exn``: which command is meant, and how each ends.

The first word decides. Is it a command's name, that command is meant; anything else is ``run`` and its arguments. So a
file that is called like a command is written as a path: ``./logs``.
"""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from sandbox_executor_client.errors import ClientError, Conflict, InvalidExecution, NotFound, Unavailable
from sandbox_run import exit_codes, output
from sandbox_run.cluster_commands import cancel, describe, get, list_, logs, pools
from sandbox_run.entry import Terminated
from sandbox_run.errors import SandboxRunError
from sandbox_run.languages import languages
from sandbox_run.outputs import outputs
from sandbox_run.run_command import Where, run

_OF_THE_GROUP: Final = frozenset({"-h", "--help", "--version"})
_FILES_TOO, _NO_FILES = 0, 4
"""Directives of kubectl's own completion (cobra's ShellCompDirective)."""
_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _PipeClosed(Exception):
    """Whoever read stdout has gone: ``head`` has seen enough."""


class _Interrupted(Exception):
    """SIGINT came; everything that was started has been ended."""


class Commands(click.Group):
    """A group that leaves closed pipes and Ctrl-C to ``_main``; click would give them codes and lines of its own."""

    def invoke(self, ctx: click.Context) -> Any:
        """The command's exit code."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
            return code
        except BrokenPipeError as error:
            raise _PipeClosed from error
        except KeyboardInterrupt as error:
            raise _Interrupted from error


class ProgramFirst(Commands):
    """A group whose default command is ``run``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts ``run`` before what does not begin with a command's name."""
        if args and args[0] not in self.commands and args[0] not in _OF_THE_GROUP:
            _refuse_late_command(self, args)
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands, and what ``run`` would take in their place: files and options."""
        with click.Context(run, info_name="run", parent=ctx) as inner:
            options = run.shell_complete(inner, incomplete)
        # First: bash forgets what comes before it.
        return [CompletionItem(incomplete, type="file"), *super().shell_complete(ctx, incomplete), *options]


def _refuse_late_command(group: click.Group, args: Sequence[str]) -> None:
    """``sandbox-run -n x logs y`` would try to run a file ``logs``: when there is none, say what was meant."""
    name = _first_argument(args)
    if name in group.commands and not Path(name).exists():
        raise click.UsageError(f"a command comes first: write {name} before its options")


def _first_argument(args: Sequence[str]) -> str:
    """The first word that is neither an option of ``run`` nor the value of one; empty when there is none."""
    with_value = {
        option
        for parameter in run.params
        if isinstance(parameter, click.Option) and not parameter.is_flag and not parameter.is_bool_flag
        for option in parameter.opts
    }
    words = iter(args)
    for word in words:
        if word in with_value:
            next(words, None)
        elif not word.startswith("-"):
            return word
    return ""


@click.group(cls=ProgramFirst, context_settings=_SETTINGS, subcommand_metavar="[COMMAND] [FILE] ...")
@click.version_option(version("sandbox-executor"), message="%(prog)s %(version)s")
def sandbox_run() -> None:
    """Run a program in a sandbox, on this machine or in a cluster.

    \b
      sandbox-run hello.py --event '{"name": "Ada"}'
      echo 'print(1)' | sandbox-run -l python -
      sandbox-run -f execution.yaml
      sandbox-run --cluster --pool default --timeout 30s hello.py

    A first word that is no command is a file to run, with the options of run; a file that is called like a command is
    written ./logs.
    """


@click.group(cls=Commands, context_settings=_SETTINGS)
@click.version_option(version("sandbox-executor"), message="%(prog)s %(version)s")
def kubectl_exn() -> None:
    """Run programs as Executions of the cluster, and look at them."""


@click.command(short_help="Script for the shell's completion.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the script that completes this command in SHELL: eval "$(sandbox-run completion bash)"."""
    root = ctx.find_root()
    name = str(root.info_name)
    of_shell = get_completion_class(shell)
    assert of_shell is not None
    click.echo(of_shell(root.command, {}, name, _completion_variable(name)).source())
    return exit_codes.OK


for _group in (sandbox_run, kubectl_exn):
    for _command in (run, logs, outputs, get, list_, describe, cancel, pools, languages):
        _group.add_command(_command)
sandbox_run.add_command(completion)


def main(args: Sequence[str] | None = None) -> int:
    """``sandbox-run``; the exit code."""
    return _main(sandbox_run, "sandbox-run", Where(), args)


def kubectl_main(args: Sequence[str] | None = None) -> int:
    """``kubectl-exn``, which kubectl starts for ``kubectl exn``; always about the cluster."""
    return _main(kubectl_exn, "kubectl exn", Where(always_cluster=True), args)


def kubectl_complete(args: Sequence[str] | None = None) -> int:
    """``kubectl_complete-exn``: what kubectl asks for completions, one a line, and at last its directive.

    https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/ says how kubectl finds it.
    """
    *before, incomplete = args if args is not None else sys.argv[1:] or [""]
    found = ShellComplete(kubectl_exn, {"obj": Where(always_cluster=True)}, "kubectl exn", "").get_completions(
        before, incomplete
    )
    files = any(item.type in ("file", "dir") for item in found)
    lines = [item.value for item in found if item.type == "plain"]
    click.echo("\n".join([*lines, f":{_FILES_TOO if files else _NO_FILES}"]))
    return exit_codes.OK


def _main(group: click.Group, name: str, where: Where, args: Sequence[str] | None) -> int:
    output.program.set(name)
    try:
        code = group.main(
            args, prog_name=name, obj=where, standalone_mode=False, complete_var=_completion_variable(name)
        )
        return code if isinstance(code, int) else exit_codes.OK
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return exit_codes.USAGE
    except click.ClickException as error:
        return _complain(_usage(error), exit_codes.USAGE)
    except SandboxRunError as error:
        return _complain(str(error), error.exit_code)
    except ClientError as error:
        return _complain(_client_error(error), exit_codes.of_error(error))
    except (_Interrupted, click.Abort):
        if sys.stderr.isatty():
            click.echo(err=True)  # the terminal stands behind ^C
        return exit_codes.CANCELLED
    except Terminated:
        return exit_codes.TERMINATED
    except _PipeClosed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains at its end
        return exit_codes.BROKEN_PIPE
    except Exception as error:
        if os.environ.get("SANDBOX_RUN_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}"
        return _complain(f"a fault of its own ({what}); SANDBOX_RUN_DEBUG=1 shows where", exit_codes.INFRASTRUCTURE)


def _complain(text: str, code: int) -> int:
    output.say(text)
    return code


def _usage(error: click.ClickException) -> str:
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"; see {ctx.command_path} --help" if ctx is not None else ""
    return f"{error.format_message().rstrip('.')}{hint}"


def _client_error(error: ClientError) -> str:
    hint = "; is it up, and is this the right --context?" if isinstance(error, Unavailable) else ""
    ours = isinstance(error, NotFound | Conflict | InvalidExecution)  # nothing that an administrator would look up
    request = f" (request {error.request_id})" if error.request_id and not ours else ""
    return f"{error}{hint}{request}"


def _completion_variable(name: str) -> str:
    return f"_{name.replace('-', '_').replace(' ', '_').upper()}_COMPLETE"
