"""Every version that the built cluster is made of, in one place.

They were built and run together (docs/decisions/0004-devcluster.md). CoreDNS is imported under the
tag that kubeadm of ``KUBERNETES`` asks for, whatever ``COREDNS`` is; so is etcd.
"""

from __future__ import annotations

KUBERNETES = "1.34.4"
ETCD = "3.6.5"
CONTAINERD = "2.4.2"
RUNC = "1.3.4"
COREDNS = "1.13.1"
HELM = "3.22.0"
KIND = "0.33.0"
KUBECONFORM = "0.8.0"
VERSITYGW = "1.8.0"
"""An S3 server over a folder, for the tests of the object store."""
PROMETHEUS_OPERATOR = "0.92.1"
"""Whose kinds the chart's monitors are checked against."""

DEBIAN_SUITE = "bookworm"
"""Root of the node image, and of the base image where the Dockerfile's own cannot be pulled."""

PULLED_NODE_IMAGE = "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"
"""The image that kind ``KIND`` uses by default, tried first on an ordinary engine."""

BASE_IMAGE = "python:3.11-slim-bookworm"
"""Default of the Dockerfile's ``BASE_IMAGE``."""

GO_MINIMUM = (1, 26, 6)
"""What containerd ``CONTAINERD`` asks for, the most of all modules here."""
GO_TOOLCHAIN = "1.26.8"
"""Fetched as the module golang.org/toolchain where there is no Go that is new enough."""
GO_TOOLCHAIN_SHA256 = {
    "linux-amd64": "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7",
}
KIND_MINIMUM = (0, 31)
KUBECTL_MINIMUM = (1, 33)
HELM_MINIMUM = (3, 14)
