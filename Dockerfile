# One image for every service of compose.yaml; a service is its command.
FROM python:3.13-slim

RUN apt-get update \
    && apt-get install --no-install-recommends --yes bubblewrap util-linux \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir uv \
    && useradd --system --create-home --home-dir /var/lib/argosy argosy \
    && install --directory --owner argosy --group argosy /var/lib/argosy-blobs

WORKDIR /opt/argosy-server
COPY pyproject.toml uv.lock .python-version README.md ./
COPY sdk sdk
RUN uv sync --locked --no-default-groups --no-cache

COPY domain domain
COPY adapters adapters
COPY projections projections
COPY api api
COPY workers workers
RUN python -m compileall -q .

ENV PATH=/opt/argosy-server/.venv/bin:$PATH
USER argosy
CMD ["python", "-m", "api"]
