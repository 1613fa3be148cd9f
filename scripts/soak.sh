#!/usr/bin/env bash
# A long soak: a server of its own and connections that come and go, until what the server holds can be
# called flat or not. Ends with 1 when memory, descriptors, goroutines or sessions kept growing, or when a
# message was lost, doubled or out of order.
#
#   scripts/soak.sh 1h                         how long; the report and its samples go to out/soak.json
#   CONNECTIONS=2000 CHURN=50 scripts/soak.sh 8h
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
duration=${1:-1h}

mkdir -p bin out
CGO_ENABLED=0 go build -trimpath -o bin/parley ./cmd/parley
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
status=0
bin/parley bench soak --spawn --duration "$duration" --connections "${CONNECTIONS:-300}" --topics "${TOPICS:-10}" \
	--rate "${RATE:-20}" --churn "${CHURN:-5}" --json >out/soak.json || status=$?
if ((status == 0)); then
	echo "Flat, and nothing was lost, doubled or out of order. The report is out/soak.json."
else
	echo "Not as it must be; out/soak.json says what:" >&2
	sed -n '/"problems"/,/]/p; /"faults"/,/}/p' out/soak.json >&2
fi
exit "$status"
