"""The bounds that more than one model or process holds, each with its unit in its name.

Sources: the seed's tasks T027 (streams), T028 (code, timeout) and T091 (queue),
and the status limits of ``docs/architecture.md``.
"""

from typing import Final

MAX_CODE_BYTES: Final = 1_048_576
"""Largest ``code``, counted in UTF-8 bytes (1 MiB, T028)."""

MIN_TIMEOUT_S: Final = 1
MAX_TIMEOUT_S: Final = 3600
DEFAULT_TIMEOUT_S: Final = 30

MAX_STREAM_BYTES: Final = 10 * 1_048_576
"""Kept of stdout and of stderr each (T027); the rest is drained and dropped."""

MAX_RETURN_VALUE_BYTES: Final = 10 * 1_048_576
"""Largest serialised return value that an executor takes from a sandbox."""

MAX_QUEUED_EXECUTIONS: Final = 10
"""Requests that wait in an executor for a slot before it answers 503 (T091)."""

STATUS_STREAM_BYTES: Final = 65_536
"""The tail of each stream that ``Execution.status`` keeps."""

STATUS_TAIL_BYTES: Final = 4096
"""The last of each stream that ``Execution.status`` shows while it runs."""

STATUS_RETURN_VALUE_BYTES: Final = 65_536
STATUS_ARTIFACTS: Final = 200

STATUS_PROGRESS_BYTES: Final = 65_536

MAX_OUTPUTS: Final = 100
"""Objects that one execution may have in the object store: each is a row of its status."""

OUTPUT_OBJECT_BYTES: Final = 64 * 1_048_576
"""Of each of them, unless the operator's administrator says otherwise."""

OUTPUT_TOTAL_BYTES: Final = 256 * 1_048_576
"""Of all of them together, the same."""

MAX_OUTPUT_OBJECT_BYTES: Final = 4 * 1024 * 1_048_576
"""What can be chosen for one: stores take 5 GB in one request."""

OUTPUT_UPLOAD_S: Final = 60.0
"""After which an executor gives up on what it has not stored, and the execution ends without it."""

MAX_INT64: Final = 2**63 - 1
"""Largest whole number of a Kubernetes object's fields."""

MAX_STDIN_BYTES: Final = 1_048_576
MAX_EVENT_BYTES: Final = 1_048_576
MAX_ENV_VARS: Final = 256
MAX_ENV_VALUE_BYTES: Final = 32_768

MAX_FILES: Final = 64
"""Files that an execution is given."""

MAX_FILE_BYTES: Final = 1_048_576
"""Of each that stands in the spec, as much as a ConfigMap or a Secret holds; an ``artifactRef`` may be larger."""

MAX_FILES_BYTES: Final = 4 * 1_048_576
"""Of all of them: as base64, and with code, stdin and event at their bounds, they fit a request."""

MAX_INLINE_FILES_BYTES: Final = 1_048_576
"""Of those that stand in the spec, as they are written there: an object of more than 1.5 MiB cannot be stored."""

MAX_FILE_PATH_BYTES: Final = 255
MAX_FILE_PATH_PARTS: Final = 16

MAX_REQUEST_BYTES: Final = 16 * 1_048_576
"""Largest body of ``POST /execute``; a larger one is refused without being read whole."""

DEFAULT_WORKSPACE_BYTES: Final = 1024 * 1_048_576
"""What one execution may leave or hold in its workspace: as much as its largest file may have."""

DEFAULT_WORKSPACE_ENTRIES: Final = 20_000
"""Files, directories and links in a workspace: several times a large project's, and counted in about 60 ms."""

MAX_WORKSPACE_ENTRIES: Final = 1_000_000

RETAINED_WORKSPACES_BYTES: Final = 1024 * 1_048_576
"""What an executor keeps of ended executions' workspaces and idle sessions together; the oldest give way."""

RETAINED_WORKSPACES_ENTRIES: Final = 200_000
"""The same for their files, directories and links."""

TOKEN_OVERLAP_S: Final = 300.0
"""How long the token before a rotation still counts: each kubelet writes the new one when its next sync comes, which
takes up to about 90 s, so for that long one side has it and the other has not."""
