# Two images from one base: `docker build --target executor .` and `--target controller .`
#
# The operator's own Python packages live in /opt, outside /usr: a sandbox sees /usr alone,
# so user code gets the interpreter and never our dependencies.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
WORKDIR /src
RUN python3 -m venv /opt/sandbox-executor
COPY requirements.txt ./
RUN /opt/sandbox-executor/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt
COPY pyproject.toml README.md ./
COPY contracts contracts
COPY controller controller
COPY executor_runtime executor_runtime
COPY log_api log_api
RUN /opt/sandbox-executor/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps . \
    && rm /opt/sandbox-executor/bin/sandbox-run /opt/sandbox-executor/bin/kubectl* \
    && /opt/sandbox-executor/bin/python -m compileall -q /opt/sandbox-executor/lib \
    && find /opt/sandbox-executor -name tests -type d -prune -exec rm -rf {} +

# Only the controller sends traces; executors pass their contexts on. Nor do they know the object store: they are given URLs.
FROM build AS controller-packages
COPY requirements-otel.txt requirements-store.txt ./
RUN /opt/sandbox-executor/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        -r requirements-otel.txt -r requirements-store.txt \
    && /opt/sandbox-executor/bin/python -m compileall -q /opt/sandbox-executor/lib
RUN /opt/sandbox-executor/bin/pip uninstall -q -y setuptools pip

# An executor never talks to the API server: a quarter of its image, and code that it would not need, stay out.
FROM build AS executor-packages
RUN /opt/sandbox-executor/bin/pip uninstall -q -y kubernetes kopf setuptools pip

# pip goes too: user code sees /usr, and neither image installs anything (`python3 -m ensurepip` brings it back).
FROM ${BASE_IMAGE} AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && rm -rf /usr/bin/pip* /usr/local/bin/pip* /usr/lib/python3/dist-packages/pip* /usr/local/lib/python3*/site-packages/pip* \
    && groupadd --gid 1000 executor \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin executor
ENV PATH=/opt/sandbox-executor/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ENTRYPOINT ["/usr/bin/tini", "--"]

FROM base AS executor
# libseccomp2 makes the filter that bubblewrap loads, nodejs runs JavaScript; nothing in the image may be setuid.
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap libseccomp2 nodejs \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && find / -xdev -perm /6000 -type f -exec chmod a-s {} + \
    && install -d -o 1000 -g 1000 -m 0700 /workspace /tmp/results
COPY --from=executor-packages /opt/sandbox-executor /opt/sandbox-executor
USER 1000:1000
EXPOSE 8080
CMD ["python", "-P", "-m", "executor_runtime"]

FROM base AS controller
RUN find / -xdev -perm /6000 -type f -exec chmod a-s {} +
COPY --from=controller-packages /opt/sandbox-executor /opt/sandbox-executor
USER 1000:1000
# The log API runs from this image too: it needs the same packages, and one image less is to be built and patched.
EXPOSE 8080 8081 8443
CMD ["python", "-P", "-m", "controller"]
