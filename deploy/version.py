"""``python -m deploy.version [NEW]``: the version in every place that states it; without NEW, what stands there.

``pyproject.toml`` is where it is decided. The others cannot read it where they are needed: an image has no
pyproject.toml, and helm reads no TOML. A test holds them against it.
"""

import re
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = "pyproject.toml"
PLACES: Final = {
    SOURCE: r'^version = "(.+)"$',
    "controller/__init__.py": r'^VERSION: Final = "(.+)"$',
    "executor_runtime/__init__.py": r'^VERSION: Final = "(.+)"$',
    "deploy/helm/sandbox-executor/Chart.yaml": r"^(?:version: |appVersion: |      image: sandbox-executor/\w+:)(.+)$",
    "docs/install.md": r"sandbox-executor/(?:controller|executor):([\w.+-]+)",
}
"""File → pattern, whose one group is the version; it may match several times."""
_SEMANTIC: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?")
"""https://semver.org, without build metadata, which no image's tag can hold."""


def read(root: Path = ROOT) -> dict[str, set[str]]:
    """The versions that each place states; an empty set where it has lost its own."""
    found = {name: re.findall(pattern, (root / name).read_text(), re.MULTILINE) for name, pattern in PLACES.items()}
    return {name: set(versions) for name, versions in found.items()}


def decided(root: Path = ROOT) -> str:
    """The version of ``pyproject.toml``.

    Raises:
        ValueError: another place states another one; the text names it and what to run.
    """
    found = read(root)
    (version,) = found[SOURCE]
    others = {name: versions for name, versions in found.items() if versions != {version}}
    if others:
        told = "; ".join(f"{name} has {', '.join(sorted(versions)) or 'none'}" for name, versions in others.items())
        raise ValueError(f"{SOURCE} has {version}, but {told}: run python -m deploy.version {version}")
    return version


def write(version: str, root: Path = ROOT) -> None:
    """Puts the version into every place.

    Raises:
        ValueError: it is none.
    """
    if not _SEMANTIC.fullmatch(version):
        raise ValueError(f"{version!r} is not a version: write MAJOR.MINOR.PATCH, such as 0.2.0 or 1.0.0-rc.1")
    for name, pattern in PLACES.items():
        path = root / name
        path.write_text(re.sub(pattern, lambda found: _with(found, version), path.read_text(), flags=re.MULTILINE))


def _with(found: re.Match[str], version: str) -> str:
    whole, start = found.group(0), found.start(0)
    return whole[: found.start(1) - start] + version + whole[found.end(1) - start :]


def main() -> int:
    """Prints the version, or writes a new one; 1 with one line where that cannot be."""
    try:
        if len(sys.argv) > 1:
            write(sys.argv[1])
        print(decided())
    except ValueError as error:
        print(f"version: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
