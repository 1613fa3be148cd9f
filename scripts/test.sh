#!/usr/bin/env bash
# Runs the named checks in order, shows what each prints, says how long each took, and stops
# at the first that fails.
#
#   scripts/test.sh generated vet lint js race torture browser
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ -x bin/node/node_modules/node/bin/node ]]; then
	PATH="$PWD/bin/node/node_modules/node/bin:$PATH"
fi

check_generated() { scripts/generate.sh check; }
check_vet() { go vet ./...; }
check_lint() { bin/golangci-lint run; }
check_js() { scripts/test-js.sh; }
# The browsers have the machine to themselves: what they show is promised within a second.
check_race() { go list ./... | grep -v -e /browsertest -e /torture | xargs go test -race -timeout 15m; }
# Whoever is killed here must not be slow because of others.
check_torture() { go test -race -timeout 10m ./scenario/torture -v -rounds "${ROUNDS:-50}"; }
check_browser() { go test -race -timeout 10m ./community/browsertest; }

describe() {
	case $1 in
	generated) echo "generated code matches the schema" ;;
	vet) echo "go vet" ;;
	lint) echo "golangci-lint" ;;
	js) echo "JavaScript: types and tests" ;;
	race) echo "Go tests with the race detector" ;;
	torture) echo "processes killed and cables cut: is everything there, once and in order?" ;;
	browser) echo "two people in two browsers" ;;
	*) echo "unknown check '$1'" >&2; return 2 ;;
	esac
}

summary=()
number=0
for name in "$@"; do
	number=$((number + 1))
	title=$(describe "$name")
	printf '\n[%d/%d] %s\n' "$number" "$#" "$title"
	started=$SECONDS
	if ! "check_$name"; then
		printf '\nFAILED: %s, after %d s\n' "$title" "$((SECONDS - started))"
		exit 1
	fi
	summary+=("$(printf '%5d s  %s' "$((SECONDS - started))" "$title")")
done

printf '\nEverything passed in %d s\n' "$SECONDS"
printf '%s\n' "${summary[@]}"
