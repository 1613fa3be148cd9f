#!/usr/bin/env bash
# Checks the types of every JavaScript package (tsc --checkJs) and runs its tests.
# A folder takes part by having a package.json; a tsconfig.json in it asks for the type check.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export NODE_OPTIONS="${NODE_OPTIONS:-} --test-reporter=spec"

# The type checker of the package itself, else of the SDK, which every page shares.
tsc_for() {
	local candidate
	for candidate in "$1/node_modules/.bin/tsc" sdk/js/node_modules/.bin/tsc; do
		if [[ -x $candidate ]]; then
			echo "$PWD/${candidate#./}"
			return
		fi
	done
	echo "no type checker for $1: run make setup" >&2
	return 1
}

while read -r config; do
	folder=$(dirname "$config")
	echo "tsc $folder"
	"$(tsc_for "$folder")" --noEmit --project "$config"
done < <(find . -name node_modules -prune -o -path ./bin -prune -o -name tsconfig.json -print | sort)

while read -r manifest; do
	folder=$(dirname "$manifest")
	if [[ $(node -p "Boolean(require('./$manifest').scripts?.test)") == true ]]; then
		echo "npm test $folder"
		(cd "$folder" && npm test --silent)
	fi
done < <(scripts/js-packages.sh)
