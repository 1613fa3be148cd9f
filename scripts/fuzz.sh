#!/usr/bin/env bash
# Runs every fuzz target for a while: scripts/fuzz.sh 10s ./...
# Go fuzzes one target at a time, so each gets a run of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
time=${1:-10s}
shift || true

found=0
while read -r package; do
	while read -r target; do
		found=$((found + 1))
		echo "$package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
	done < <(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true)
done < <(go list "${@:-./...}")
echo "$found fuzz targets, $time each"
