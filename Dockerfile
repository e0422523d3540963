# One node. Settings are environment variables (README, docs/deployment.md); AUTH has to be chosen, for a container
# listens beyond loopback.
FROM python:3.11-slim

WORKDIR /app

# What is pinned, by hash, and nothing else. It changes less often than the code does.
COPY constraints.txt ./
RUN pip install --no-cache-dir --no-deps --require-hashes -r constraints.txt

# README and docs are what the embedded agent answers from, until it is given other documents.
COPY pyproject.toml README.md ARCHITECTURE.md CHANGELOG.md LICENSE ./
COPY docs docs
COPY static static
COPY server server
RUN python -m compileall -q server \
    && useradd --system --no-create-home --uid 10001 sessionstream \
    && install -d -o sessionstream -g sessionstream /data

USER sessionstream
ENV HOST=0.0.0.0 PORT=8000 DATA=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8000

# Runs and streams end within DRAIN_SECONDS; give a container twice that and some seconds before it is killed.
STOPSIGNAL SIGTERM
# Whether the process answers: starting it anew would not bring back a storage that is down (/health/ready says that).
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys; \
connection = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=2); \
connection.request('GET', '/health'); \
sys.exit(connection.getresponse().status != 200)"]

ENTRYPOINT ["python", "-m", "server"]
