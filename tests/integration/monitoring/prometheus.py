"""A Prometheus of a test's own: Debian's package, on loopback, ended by its pid."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.patience import PATIENCE_S


def find_program(name: str) -> str:
    """Where ``prometheus`` or ``promtool`` is."""
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: scripts/setup installs Debian's package prometheus")
    return found


class Prometheus:
    """``start`` it; ``stop`` leaves nothing of it but its folder."""

    def __init__(self, folder: Path, port: int, config: dict[str, Any]) -> None:
        """``config``: as ``prometheus.yml`` has it."""
        self._folder, self._config = folder, config
        self._url = f"http://127.0.0.1:{port}"
        self._listen = f"127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until it answers."""
        file = self._folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(self._config))
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    find_program("prometheus"),
                    f"--config.file={file}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={self._listen}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self._is_ready():
            log_text = (self._folder / "prometheus.log").read_text()
            assert self._process.poll() is None, f"Prometheus ended: {log_text}"
            assert time.monotonic() < deadline, f"Prometheus is not ready: {log_text}"
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The vector that the expression is, now or at a time (Unix seconds).

        Raises:
            AssertionError: it is no valid expression.
        """
        values = {"query": expression} | ({"time": str(at)} if at is not None else {})
        found: list[dict[str, Any]] = self._get("query", **values)["result"]
        return found

    def names(self) -> set[str]:
        """Of all metrics that it has scraped."""
        return set(self._get("label/__name__/values"))

    def rules(self) -> list[dict[str, Any]]:
        """The alerting rules, with their health and state."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, what: str, **values: str) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(values)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{values}: {error.read().decode()}") from None

    def _is_ready(self) -> bool:
        try:
            urllib.request.urlopen(f"{self._url}/-/ready", timeout=2).close()
        except OSError:
            return False
        return True
