"""Breaks everything, one after the other and together, while Executions run; then checks what is left.

``make chaos`` runs it for long on real processes (``processes``: API server, etcd, controllers, executors and their
sandboxes; the test plays the kubelet, the Service and the Control Plane) and on a kind cluster (``kind``), where the
kubelet is real too; ``tests/integration/chaos`` and ``tests/e2e/test_chaos.py`` run them briefly.

``checker`` decides from records that the controller cannot have written: the API server's audit log, the executors'
own logs of what they started, and what the Control Plane received.
"""
