# The server over a store that is mounted at /store. Build: docker build -t lookalike .
FROM python:3.12-slim

RUN useradd --create-home --uid 10001 lookalike && install --directory --owner lookalike /cache \
 && apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY indexer ./indexer
COPY server ./server
COPY lookalike ./lookalike
COPY config.yaml ./
RUN printf '#!/bin/sh\nexec python -m lookalike "$@"\n' > /usr/local/bin/lookalike && chmod 755 /usr/local/bin/lookalike

USER lookalike
ENV XDG_CACHE_HOME=/cache KERAS_HOME=/cache/keras LOOKALIKE_STORE=/store LOOKALIKE_SERVER__HOST=0.0.0.0 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz')"]
CMD ["python", "-m", "lookalike", "serve"]
