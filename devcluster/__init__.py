"""A real kind cluster for tests and demos, on any Linux machine.

``python -m devcluster up`` uses the Docker engine, kind and node image that a machine has or can get,
and makes them from Debian packages and Go modules where it cannot. ``devcluster.cluster`` says how the
end-to-end tests use it through pytest-kind; docs/devcluster.md is the page for users.
"""

from devcluster.cluster import Cluster
from devcluster.environment import Environment
from devcluster.errors import DevclusterError, MissingTools, StepFailed
from devcluster.layout import DEFAULT_NAME, Layout
from devcluster.lifecycle import down, up

__all__ = [
    "DEFAULT_NAME",
    "Cluster",
    "DevclusterError",
    "Environment",
    "Layout",
    "MissingTools",
    "StepFailed",
    "down",
    "up",
]
