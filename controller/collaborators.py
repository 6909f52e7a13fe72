"""What the pipeline and its steps work with: clients, the writer, and what is told to people."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from controller.artifacts import Artifacts
from controller.clients.executor import ExecutorClient
from controller.clients.kube import KubeClient
from controller.events import EventRecorder
from controller.inputs import NO_ARTIFACTS
from controller.metrics import Metrics
from controller.namespaces import NamespaceGate
from controller.notices import Notices
from controller.report_tokens import ReportTokens
from controller.tracing import Tracer
from controller.uploads import Uploads
from controller.writer import StatusWriter


@dataclass(frozen=True, slots=True)
class Collaborators:
    """One of each in a process."""

    kube: KubeClient
    executors: ExecutorClient
    writer: StatusWriter
    tokens: ReportTokens
    events: EventRecorder
    metrics: Metrics
    namespaces: NamespaceGate
    notices: Notices
    secret_namespaces: frozenset[str]
    now: Callable[[], datetime]
    tracer: Tracer | None = None
    artifacts: Artifacts = NO_ARTIFACTS
    uploads: Uploads | None = None
    """None: there is no object store."""
