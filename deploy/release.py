"""``python -m deploy.release DIRECTORY``: everything that a release publishes, built into an empty directory.

``make release`` runs it with the tools of requirements-release.txt. Nothing is published, and nothing leaves this
machine: docs/releasing.md says what comes before and after.
"""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from deploy import sbom, version
from deploy.version import ROOT
from devcluster import images
from devcluster.buildah import Build
from devcluster.errors import DevclusterError
from devcluster.layout import Layout

TARGETS: Final = ("controller", "executor")
_CHART: Final = ROOT / "deploy" / "helm" / "sandbox-executor"


class ReleaseError(Exception):
    """A part cannot be built; the text says which and why."""


@dataclass(frozen=True)
class Release:
    """What is built: where to, which version, and the time (Unix seconds) that everything says it was made at."""

    out: Path
    version: str
    epoch: int

    @property
    def built(self) -> datetime:
        """The same time."""
        return datetime.fromtimestamp(self.epoch, UTC)


def build_distributions(release: Release) -> None:
    """Wheel and sdist; the sdist is packed anew, because setuptools writes the time of day into it."""
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(release.out), str(ROOT)], release)
    for archive in release.out.glob("*.tar.gz"):
        repack(archive, release.epoch)


def build_chart(release: Release) -> None:
    """The packaged chart, and its definitions as one file for those who apply them themselves."""
    _run(["helm", "package", str(_CHART), "--destination", str(release.out)], release)
    repack(release.out / f"sandbox-executor-{release.version}.tgz", release.epoch)
    definitions = [path.read_text() for path in sorted((_CHART / "crds").glob("*.yaml"))]
    (release.out / f"sandbox-executor-crds-{release.version}.yaml").write_text("---\n".join(definitions))


def build_images(release: Release) -> None:
    """Both images as OCI archives, and what is in each."""
    layout = Layout.of()
    for target in TARGETS:
        tag = f"sandbox-executor/{target}:{release.version}"
        archive = release.out / f"sandbox-executor-{target}-{release.version}.oci.tar"
        images.build(layout, Build(target, tag))
        images.save(layout, tag, archive)
        packages = sbom.read_packages(archive)
        document = sbom.make_document(f"sandbox-executor/{target}", release.version, packages, release.built)
        bill = release.out / f"sandbox-executor-{target}-{release.version}.cdx.json"
        bill.write_text(json.dumps(document, indent=2))


def build_python_sbom(release: Release) -> None:
    """What the Python distribution needs, from the locked requirements."""
    out = release.out / f"sandbox-executor-python-{release.version}.cdx.json"
    words = ["-m", "cyclonedx_py", "requirements", "--pyproject", "pyproject.toml", "--output-reproducible"]
    _run([sys.executable, *words, "--output-file", str(out), "requirements.txt"], release)


def validate_sboms(release: Release) -> None:
    """Each document against CycloneDX's own schema."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    for path in sorted(release.out.glob("*.cdx.json")):
        text = path.read_text()
        schema = SchemaVersion.from_version(json.loads(text)["specVersion"])
        if problem := JsonStrictValidator(schema).validate_str(text):
            raise ReleaseError(f"{path.name} is not CycloneDX: {problem}")


def write_checksums(release: Release) -> None:
    """``SHA256SUMS`` of all that is there, for ``sha256sum --check``."""
    lines = []
    for path in sorted(release.out.iterdir()):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    (release.out / "SHA256SUMS").write_text("".join(lines))


def repack(archive: Path, epoch: int) -> None:
    """The same files in order, of nobody, from one moment: the same bytes for the same files."""
    packed = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    with archive.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as written:
        written.write(packed.getvalue())


def commit_time(root: Path = ROOT) -> int:
    """``SOURCE_DATE_EPOCH`` where it is set, else the last commit's time.

    Raises:
        ReleaseError: there is neither.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdigit():
        return int(given)
    told = subprocess.run(
        ["git", "-C", str(root), "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False
    )
    if told.returncode != 0:
        raise ReleaseError("this is no git checkout: set SOURCE_DATE_EPOCH to the release's time in Unix seconds")
    return int(told.stdout)


def _make_empty(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise ReleaseError(f"{out} is not empty: remove it, or name another directory")


def _run(command: list[str], release: Release) -> None:
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(release.epoch)}
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"{' '.join(command)}: {(done.stdout + done.stderr).strip()}")


STEPS: Final[tuple[tuple[str, Callable[[Release], None]], ...]] = (
    ("wheel and sdist", build_distributions),
    ("chart", build_chart),
    ("bill of materials of the Python distribution", build_python_sbom),
    ("images and their bills of materials", build_images),
    ("validating the bills of materials", validate_sboms),
    ("checksums", write_checksums),
)


def main() -> int:
    """Says each step and in the end what there is; 1 with one line when a part cannot be built."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "build/release").resolve()
    try:
        release = Release(out, version.decided(), commit_time())
        _make_empty(out)
        for title, step in STEPS:
            print(f"release: {title}", flush=True)
            step(release)
    except (ReleaseError, DevclusterError, ValueError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size / 1e6:9.2f} MB  {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
