"""Options of the whole suite. Fixtures stand beside the tests that use them."""

import signal

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("calm", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")  # a busy machine may take long for one; ``make fuzz`` looks for new ones


def pytest_configure() -> None:
    """A job in the background of a shell ignores SIGINT, and so would all that the tests start to interrupt it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sandbox-executor")
    group.addoption(
        "--cluster",
        choices=("kind", "current"),
        default="kind",
        help="kind: the cluster of devcluster/, made when it is not there; current: the one that KUBECONFIG names",
    )
    group.addoption("--executor-image", default="sandbox-executor/executor:dev")
    group.addoption("--controller-image", default="sandbox-executor/controller:dev")
    group.addoption(
        "--audit-log",
        help="for --cluster=current: a file with the audit log of the API server; else tests that need it are left out",
    )
