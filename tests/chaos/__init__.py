"""Breaks everything, one after the other and together, while Executions run; then checks what is left.

``make chaos`` runs it for long, ``tests/integration/chaos`` briefly. The API server, etcd, the controllers, the
executors and their sandboxes are real processes; the test plays the kubelet, the Service and the Control Plane.
``checker`` decides from records that the controller cannot have written: the API server's audit log, the executors'
own logs of what they started, and what the Control Plane received.
"""
