"""``python -m devcluster``: parses, calls, prints. What each command does is in its own module."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from devcluster import buildah, images, lifecycle, provision, report, state, testtools
from devcluster.cluster import Cluster
from devcluster.errors import DevclusterError, StepFailed
from devcluster.layout import DEFAULT_NAME, Layout
from devcluster.progress import duration, say


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace, Layout], int] = options.command
    try:
        return command(options, Layout.of(options.name))
    except DevclusterError as error:
        return _failed(error)
    except KeyboardInterrupt:
        say("interrupted; `up` goes on from here, `down` cleans up")
        return 130


def _failed(error: DevclusterError) -> int:
    say(f"error: {error}")
    if isinstance(error, StepFailed) and error.log:
        say(f"the whole log: {error.log}")
    if error.hint:
        say(f"try: {error.hint}")
    return 1


def _up(options: argparse.Namespace, layout: Layout) -> int:
    started = time.monotonic()
    found = lifecycle.up(layout, nodes=options.nodes, engine_only=options.engine_only)
    what = "the engine of " if options.engine_only else ""
    say(f"{what}'{layout.name}' is up after {duration(time.monotonic() - started)}")
    print(f"kubeconfig: {found.kubeconfig}")
    name = "" if layout.name == DEFAULT_NAME else f" --name {layout.name}"
    print(f"next:       python -m devcluster run{name} -- kubectl get nodes")
    return 0


def _prepare(options: argparse.Namespace, layout: Layout) -> int:
    parts = provision.provision(layout, state.load(layout.state_file))
    print(f"engine: {parts.engine}\nnode image: {parts.node_image}")
    return 0


def _down(options: argparse.Namespace, layout: Layout) -> int:
    lifecycle.down(layout)
    say(f"'{layout.name}' is down; builds stay in {layout.cache}")
    return 0


def _run(options: argparse.Namespace, layout: Layout) -> int:
    if not options.words:
        raise DevclusterError("nothing to run", hint="python -m devcluster run -- kubectl get nodes")
    env = Cluster.current(layout.name).environment
    os.environ.update(env.variables)
    words = [str(word) for word in env.command(*options.words)]
    sys.stdout.flush()
    try:
        os.execvp(words[0], words)  # noqa: S606 -- to run what the user asks for is the point
    except FileNotFoundError:
        raise DevclusterError(f"{words[0]}: no such command") from None


def _status(options: argparse.Namespace, layout: Layout) -> int:
    text, healthy = report.status(layout)
    if not options.quiet:
        print(text, end="")
    return 0 if healthy else 1


def _logs(options: argparse.Namespace, layout: Layout) -> int:
    print(report.logs(layout), end="")
    return 0


def _build_image(options: argparse.Namespace, layout: Layout) -> int:
    tag = options.tag or f"sandbox-executor/{options.target or 'image'}:dev"
    context = options.context.resolve()
    images.build(layout, buildah.Build(options.target, tag, context, options.file))
    print(tag)
    return 0


def _load_image(options: argparse.Namespace, layout: Layout) -> int:
    images.load(Cluster.current(layout.name), options.tags)
    return 0


def _test_tools(options: argparse.Namespace, layout: Layout) -> int:
    print(testtools.provide(layout))
    return 0


def _env(options: argparse.Namespace, layout: Layout) -> int:
    found = Cluster.current(layout.name)
    if not options.json:
        print(found.environment.exports(), end="")
        return 0
    document = {
        "name": found.name,
        "engine": found.state.engine,
        "variables": dict(found.environment.variables),
        "prefix": list(found.environment.prefix),
        "nodeImage": found.node_image,
        "kindConfig": str(found.kind_config),
        "kind": str(found.kind_path),
        "kubectl": str(found.kubectl_path),
        "helm": str(found.helm_path),
        "logs": str(layout.logs),
    }
    print(json.dumps(document, indent=2))
    return 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default=os.environ.get("DEVCLUSTER_NAME", DEFAULT_NAME))
    parser = argparse.ArgumentParser(prog="python -m devcluster", description="A real kind cluster, anywhere.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace, Layout], int], about: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, parents=[common], help=about, description=about)
        sub.set_defaults(command=command)
        return sub

    up = add("up", _up, "start the cluster; returns at once when it is healthy")
    up.add_argument("--nodes", type=int, choices=(1, 2), help="default: as it is, or 1")
    up.add_argument("--engine-only", action="store_true", help="all but the cluster itself")
    add("prepare", _prepare, "get or build everything, start nothing")
    add("test-tools", _test_tools, "print the folder of helm, etcd and kube-apiserver, built when they are not there")
    status = add("status", _status, "what is up and where; exit 1 when the cluster is not healthy")
    status.add_argument("--quiet", action="store_true", help="exit code only")
    add("logs", _logs, "where the logs of every part are")
    add("down", _down, "remove the cluster and all that runs for it")
    image = add("build-image", _build_image, "build an image of the Dockerfile, print its tag")
    image.add_argument("--target", help="stage of the Dockerfile: executor or controller")
    image.add_argument("--tag", help="default: sandbox-executor/TARGET:dev")
    image.add_argument("--context", type=Path, default=buildah.REPOSITORY)
    image.add_argument("--file", type=Path, help="default: Dockerfile in the context")
    load = add("load-image", _load_image, "copy images into every node")
    load.add_argument("tags", nargs="+", metavar="TAG")
    run = add("run", _run, "run a command where it reaches the cluster: run -- CMD …")
    run.add_argument("words", nargs="*", metavar="CMD")
    env = add("env", _env, "print the environment for a shell")
    env.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
