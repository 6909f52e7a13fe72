"""The aggregated API ``subresources.sandbox-executor.dev``: an Execution's output, whole, live, to whoever may see it.

The API server sends it what is asked of ``/apis/subresources.sandbox-executor.dev``, and says for whom. It reads from
the executor that runs the code, and keeps nothing (``docs/live-output.md``, ``docs/decisions/0019-log-api.md``).

``server`` → ``identity``, ``review`` → ``follow`` → ``executions``, ``executors`` → ``rendering``. It runs from the
controller's image and shares the controller's Kubernetes client, and none of its state.
"""
