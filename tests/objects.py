"""Object stores for tests: a folder, and a real S3 server (versitygw over a folder) on loopback."""

import contextlib
import os
import secrets
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from controller.object_store import ObjectStore, Place
from tests.integration.controller.apiserver import find_binary, free_port

BUCKET = "outputs"
PREFIX = "cluster-a/outputs"
_START_S = 60.0


@dataclass
class TestStore:
    """A store, and how processes are told of it. ``root``: where its objects lie."""

    __test__ = False

    place: Place
    root: Path
    process: subprocess.Popen[bytes] | None = None
    start_again: list[str] | None = None
    environment: dict[str, str] | None = None

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables of controller and log API."""
        found = {"OBJECT_STORE_URL": self.place.url, "OBJECT_STORE_PREFIX": self.place.prefix}
        if self.place.endpoint:
            found |= {
                "OBJECT_STORE_ENDPOINT": self.place.endpoint,
                "OBJECT_STORE_REGION": self.place.region,
                "OBJECT_STORE_ALLOW_HTTP": "true",
                "OBJECT_STORE_CREDENTIALS": str(self.place.credentials),
            }
        return found

    @property
    def secrets(self) -> list[str]:
        """What must be seen nowhere."""
        if self.place.credentials is None:
            return ["signature="]
        return ["X-Amz-Signature", *(path.read_text() for path in self.place.credentials.iterdir())]

    def open(self) -> ObjectStore:
        """The store, as the controller opens it."""
        return ObjectStore(self.place)

    def files(self) -> dict[str, bytes]:
        """All objects by their keys below the prefix."""
        top = self.root / self.place.prefix
        return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}

    def stop(self) -> None:
        """The server goes away; its objects stay."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(60)

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        assert self.start_again is not None
        log = (self.root.parent / "s3.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                self.start_again, env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + _START_S
        while not _answers(self.place.endpoint):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the S3 server does not serve: {(self.root.parent / 's3.log').read_text()}")
            time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[TestStore]:
    """A folder as a store."""
    root = folder / "store"
    root.mkdir()
    yield TestStore(Place(f"file://{root}", PREFIX), root)


@contextlib.contextmanager
def run_s3(folder: Path) -> Iterator[TestStore]:
    """An S3 server with one bucket."""
    root, credentials, port = folder / "s3", folder / "credentials", free_port()
    for made in (root / BUCKET, folder / "sidecar", credentials):
        made.mkdir(parents=True)
    access, secret = f"ACCESS{secrets.token_hex(8)}", secrets.token_hex(20)
    (credentials / "aws_access_key_id").write_text(access)
    (credentials / "aws_secret_access_key").write_text(secret)
    place = Place(
        f"s3://{BUCKET}", PREFIX, f"http://127.0.0.1:{port}", "us-east-1", allow_http=True, credentials=credentials
    )
    command = [str(find_binary("versitygw")), "--port", f"127.0.0.1:{port}", "--region", "us-east-1", "posix"]
    command += ["--sidecar", str(folder / "sidecar"), str(root)]
    environment = {"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret}
    store = TestStore(place, root / BUCKET, None, command, environment)
    try:
        store.start()
        yield store
    finally:
        store.stop()
