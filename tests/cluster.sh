#!/usr/bin/env bash
# Runs the tests of clusters: two nodes of Ray on this machine, whose ports nobody else can reach. Ray listens on
# every address, so the tests run in a network of their own that has a loopback and nothing else; where that
# is not allowed (some containers), Ray's token keeps others out.
set -euo pipefail
cd "$(dirname "$0")/.."

export TEST_CLUSTER=1
pytest=("${VENV:-.venv}/bin/python" -m pytest -q "${@:-tests/cluster}")
if unshare -rn ip link set lo up 2>/dev/null; then
  exec unshare -rn sh -c 'ip link set lo up && exec "$@"' sh "${pytest[@]}"
fi
echo "No network of their own for the tests (unshare -rn failed): they run on this machine's loopback."
exec "${pytest[@]}"
