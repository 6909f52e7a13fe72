"""Keeps one AppArmor profile loaded on a node: ``load_apparmor.py PROFILE NODE_USR SECURITYFS READY_FILE``.

AppArmor profiles are in the kernel, not in files: they are gone after a reboot, and the kubelet refuses pods
whose profile is not loaded. This program loads it, in a DaemonSet, looks each minute whether it is still
there, and ends on SIGTERM. It compiles with the node's own parser, which fits the node's kernel, started by
the node's own loader, so that of the node's files only ``/usr`` is needed, to read. Nothing but the standard
library of any Python 3; root with CAP_MAC_ADMIN. A node without AppArmor has nothing to load.
"""

import re
import signal
import subprocess
import sys
from pathlib import Path

CHECK_INTERVAL_S = 60
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
PARSER = "sbin/apparmor_parser"
ONLY_NEW_PARSERS_KNOW = re.compile(r"^\s*userns,\n", re.MULTILINE)


class CannotLoad(Exception):
    """The node has AppArmor, and the profile could not be loaded; the text says what the parser said."""


def parser_command(usr: Path) -> list[str]:
    """The node's parser, with the node's libraries instead of this image's.

    Raises:
        CannotLoad: it is not there.
    """
    parser = usr / PARSER
    if not parser.exists():
        raise CannotLoad(f"the node has AppArmor but no /usr/{PARSER}: install its package apparmor")
    loaders = sorted(usr.glob("lib*/ld-linux*.so.*")) or sorted(usr.glob("lib/*/ld-linux*.so.*"))
    if not loaders:
        raise CannotLoad("the node's dynamic loader is not below /usr/lib*")
    folders = [*sorted(usr.glob("lib/*-linux-gnu")), usr / "lib64", usr / "lib"]
    return [str(loaders[0]), "--library-path", ":".join(map(str, folders)), str(parser)]


def fit(profile: str, command: list[str]) -> str:
    """The profile as this parser takes it: without ``userns`` where the node's AppArmor does not know it.

    Raises:
        CannotLoad: the parser takes neither.
    """
    for text in (profile, ONLY_NEW_PARSERS_KNOW.sub("", profile)):
        tried = _run([*command, "-QK"], text)
        if tried.returncode == 0:
            return text
    raise CannotLoad(f"the parser refuses the profile: {tried.stderr.strip()}")


def is_loaded(name: str, securityfs: Path) -> bool:
    """Whether the kernel has a profile of this name."""
    lines = (securityfs / "apparmor/profiles").read_text().splitlines()
    return any(line.rpartition(" (")[0] == name for line in lines)


def load(profile: str, usr: Path, securityfs: Path) -> str:
    """Loads the profile where it is missing; what was done, in words, or nothing.

    Raises:
        CannotLoad: it is missing still.
    """
    if not (securityfs / "apparmor/profiles").exists():
        return "this node has no AppArmor: there is nothing to load"
    (name,) = re.findall(r"^profile (\S+)", profile, re.MULTILINE)
    if is_loaded(name, securityfs):
        return ""
    command = parser_command(usr)
    loading = _run([*command, "--replace", "--skip-cache"], fit(profile, command))
    if loading.returncode != 0 or not is_loaded(name, securityfs):
        raise CannotLoad(f"the parser ended with {loading.returncode}: {loading.stderr.strip()}")
    return f"loaded {name}"


def _run(command: list[str], profile: str) -> "subprocess.CompletedProcess[str]":
    # The node's own parser: whoever could replace it owns the node already.
    return subprocess.run(command, input=profile, capture_output=True, text=True, timeout=60)  # noqa: S603


def main() -> None:
    """Loads, then looks again every ``CHECK_INTERVAL_S`` until a stop signal comes."""
    profile, usr, securityfs, ready = map(Path, sys.argv[1:5])
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    told = ""
    while True:
        done = load(profile.read_text(), usr, securityfs)
        if done not in ("", told):
            print(done, flush=True)
            told = done
        ready.touch()
        if signal.sigtimedwait(STOP_SIGNALS, CHECK_INTERVAL_S) is not None:
            return


if __name__ == "__main__":
    try:
        main()
    except CannotLoad as error:
        sys.exit(f"cannot load the AppArmor profile: {error}")
