"""Which requests the server accepts: by host name, key, rate and free slots."""

HEALTH_PATHS = ("/healthz", "/readyz")
"""Answered without a key, under any host name, and not counted against a rate."""

PROBE_PATHS = (*HEALTH_PATHS, "/metrics")
"""Answered without a slot, so that a busy server can still be monitored."""
