"""``sandbox-run``: one Execution on this machine, without a cluster, or in one; and a look at what a cluster has.

The only package that knows both the controller and the executor: here it takes admission and the fold of the one, and a
real process of the other. In a cluster it is a caller of ``sandbox_executor_client``. ``docs/cli.md`` has the commands.
"""
