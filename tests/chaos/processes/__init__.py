"""The world of real processes: API server, etcd, controllers and executors; the test plays kubelet and Services."""
