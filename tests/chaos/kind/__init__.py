"""The world of a kind cluster: real kubelets, real pods, the chart; run it inside ``python -m devcluster run --``."""
