#!/usr/bin/env bash
# Lists the package.json files of this project, one a line; installed packages are not ours.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
find . -name node_modules -prune -o -path ./bin -prune -o -path ./data -prune -o -name package.json -print | sort
