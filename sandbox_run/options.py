"""Options that several commands share."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from sandbox_run.cluster import Target
from sandbox_run.entry import run_async

F = TypeVar("F", bound=Callable[..., Any])
FORMATS: Final = click.Choice(["table", "json", "yaml", "raw"])
_COMPLETION_TIMEOUT_S: Final = 3.0


def cluster_options(command: F) -> F:
    """Adds the options that say which cluster and namespace; the command gets them as ``target``."""

    @click.option("--kubeconfig", metavar="FILE", help="Kubeconfig instead of kubectl's own.")
    @click.option("--context", metavar="NAME", help="Context of the kubeconfig.")
    @click.option("-n", "--namespace", metavar="NAME", help="Namespace instead of the context's own.")
    @wraps(command)
    def with_target(
        *args: Any, kubeconfig: str | None, context: str | None, namespace: str | None, **kwargs: Any
    ) -> Any:
        return command(*args, target=Target(kubeconfig, context, namespace), **kwargs)

    return with_target  # type: ignore[return-value]


def output_option(formats: click.Choice[str], default: str | None = "table", note: str = "") -> Callable[[F], F]:
    """``-o``; raw is a program's own output, or rows with tabs between the values."""
    return click.option(
        "-o", "--output", "shown", type=formats, default=default, show_default=True, help=f"Format.{note}"
    )


def complete_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of Executions; none when the cluster does not say them at once."""
    import asyncio

    from sandbox_executor_client import ClientError

    given = {name: ctx.params.get(name) for name in ("kubeconfig", "context", "namespace")}
    target = Target(**given)

    async def names() -> list[str]:
        async with asyncio.timeout(_COMPLETION_TIMEOUT_S), target.client() as client:
            return [execution.name for execution in await client.list()]

    try:
        found = run_async(names())
    except (ClientError, TimeoutError):
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]
