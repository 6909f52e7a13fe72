# Every target works from a fresh clone; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := $(CURDIR)/.venv
PYTHON := $(VENV)/bin/python
DEVCLUSTER := $(PYTHON) -m devcluster
IN_CLUSTER := $(DEVCLUSTER) run --
# helm, etcd and kube-apiserver for tests without a cluster; the first time this builds them.
WITH_TOOLS = tools=$$($(DEVCLUSTER) test-tools) && KUBE_ASSETS_DIR="$$tools" PATH="$$tools:$$PATH"
SITE = $(VENV)/bin/sphinx-build --fail-on-warning --keep-going --fresh-env --doctree-dir build/doctrees
EXECUTOR_IMAGE := sandbox-executor/executor:dev
CONTROLLER_IMAGE := sandbox-executor/controller:dev
TEST_ARGS ?=
E2E_ARGS ?=
CHAOS_ARGS ?=
FUZZ_EXAMPLES ?= 5000

.PHONY: help
help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 18

.PHONY: setup
setup: ## System packages and the virtual environment
	@scripts/setup

.PHONY: demo
demo: ## Runs examples/hello.yaml on this machine, without a cluster
	@scripts/setup requirements-cli.txt
	@$(PYTHON) -m sandbox_run -f examples/hello.yaml

.PHONY: check
check: setup ## Lint, format, types, layering, the chart, the documentation site
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(WITH_TOOLS) helm lint --quiet --strict --kube-version v1.34.0 deploy/helm/sandbox-executor
	$(WITH_TOOLS) $(PYTHON) -m deploy.conformance
	$(SITE) --quiet docs build/site

.PHONY: docs
docs: setup ## The documentation site, in build/site; a link that leads nowhere is an error
	$(SITE) docs build/site
	@echo "open build/site/index.html"

.PHONY: reference
reference: setup ## Writes the reference pages in docs/reference from the models
	$(PYTHON) -m docsite docs/reference

.PHONY: test
test: check test-local test-e2e ## Everything: check, unit, integration, security, e2e on the kind cluster

.PHONY: test-local
test-local: setup ## Unit, contract, integration and security tests: no cluster
	@$(WITH_TOOLS) scripts/test-local $(PYTHON) $(TEST_ARGS)

.PHONY: fuzz
fuzz: setup ## The fuzzers with new examples, FUZZ_EXAMPLES of them each (make test takes a hundred)
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PYTHON) -m pytest tests/unit/fuzz --timeout 0

.PHONY: test-e2e
test-e2e: setup ## The e2e tests on the kind cluster
	@scripts/test-e2e $(PYTHON) $(E2E_ARGS)

.PHONY: test-e2e-current
test-e2e-current: setup ## The e2e tests on the cluster of KUBECONFIG
	$(PYTHON) -m pytest tests/e2e --cluster=current $(E2E_ARGS)

.PHONY: images
images: setup ## Builds both container images
	$(DEVCLUSTER) build-image --target executor --tag $(EXECUTOR_IMAGE)
	$(DEVCLUSTER) build-image --target controller --tag $(CONTROLLER_IMAGE)

.PHONY: release
release: setup ## Wheel, sdist, both images, chart, bills of materials and checksums, in build/release
	@$(WITH_TOOLS) scripts/release

.PHONY: cluster-up
cluster-up: setup ## A kind cluster, also where Docker, kind or a node image are missing
	$(DEVCLUSTER) up

.PHONY: cluster-down
cluster-down: setup ## Removes the cluster and everything that was started for it
	$(DEVCLUSTER) down

.PHONY: demo-cluster
demo-cluster: cluster-up images ## Chart installed on the kind cluster, examples applied, results shown
	$(DEVCLUSTER) load-image $(EXECUTOR_IMAGE) $(CONTROLLER_IMAGE)
	$(IN_CLUSTER) scripts/demo-cluster

.PHONY: compose-demo
compose-demo: setup ## The executor alone with a mock Control Plane, by docker compose
	@scripts/compose-demo $(PYTHON)

.PHONY: bench
bench: cluster-up images ## Executions beside Kubernetes Jobs and a null operator; then all figures without a cluster
	$(DEVCLUSTER) load-image $(EXECUTOR_IMAGE) $(CONTROLLER_IMAGE)
	$(IN_CLUSTER) scripts/install
	$(IN_CLUSTER) $(PYTHON) -m benchmarks.execution_against_job \
	  --image $(EXECUTOR_IMAGE) --controller-image $(CONTROLLER_IMAGE)
	$(MAKE) --no-print-directory bench-controller bench-executor
	$(PYTHON) -m benchmarks.startup --images

.PHONY: bench-controller
bench-controller: setup ## What the way of a CR costs, by a real API server; no cluster (about 20 minutes)
	$(WITH_TOOLS) $(PYTHON) -m benchmarks.execution_latency
	$(WITH_TOOLS) $(PYTHON) -m benchmarks.finished_executions
	$(WITH_TOOLS) $(PYTHON) -m benchmarks.placement_scale

.PHONY: bench-executor
bench-executor: setup ## What one executor costs, beside the floor of the same run; no cluster
	$(PYTHON) -m benchmarks.executor_latency
	$(PYTHON) -m benchmarks.executor_speed

.PHONY: soak
soak: setup ## Ten minutes of mixed load on one executor, which must end where it began
	$(PYTHON) -m benchmarks.soak --minutes 10

.PHONY: chaos
chaos: chaos-processes chaos-cluster ## Breaks everything for a quarter of an hour, on processes and on a kind cluster; verdicts

.PHONY: chaos-processes
chaos-processes: setup ## Ten minutes of broken leaders, executors, API server, etcd and networks
	$(WITH_TOOLS) $(PYTHON) -m tests.chaos --minutes 10 $(CHAOS_ARGS)

.PHONY: chaos-cluster
chaos-cluster: setup ## Five minutes on a kind cluster of its own with two nodes, which go too
	@scripts/chaos-cluster $(PYTHON) --minutes 5 $(CHAOS_ARGS)

.PHONY: outage
outage: setup ## Ten minutes without a Control Plane under load; then everything must arrive
	$(WITH_TOOLS) $(PYTHON) -m benchmarks.outage --minutes 10

.PHONY: crds
crds: setup ## Writes deploy/crds and the chart's copies from the models
	$(PYTHON) -m contracts.crd deploy/crds
	cp deploy/crds/*.yaml deploy/helm/sandbox-executor/crds/

.PHONY: seccomp
seccomp: setup ## Writes the chart's seccomp profile from its table
	$(PYTHON) -m deploy.seccomp.profile

.PHONY: lock
lock: ## Locks the requirements with hashes
	scripts/lock
