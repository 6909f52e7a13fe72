"""One Execution on this machine, without a cluster, through the code that a cluster uses.

The only package that knows both the controller and the executor: admission and the fold of
the one, a real process of the other. ``make demo`` is ``python -m sandbox_run -f examples/hello.yaml``.
"""
