#!/usr/bin/env bash
# Generates Go code from the protocol schema.
#
#   scripts/generate.sh           write it beside the schema
#   scripts/generate.sh check     fail when what is committed differs from what the schema says
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

schema=protocol
mapfile -t files < <(cd "$schema" 2>/dev/null && find . -name '*.proto' | sed 's|^\./||' | sort)
if ((${#files[@]} == 0)); then
	echo "no .proto file under $schema/"
	exit 0
fi

generate_into() {
	PATH="$PWD/bin:$PATH" protoc --proto_path="$schema" --go_out="$1" --go_opt=paths=source_relative "${files[@]}"
}

# The header names the version of protoc, which may differ between machines; the code may not.
without_versions() { sed '/^\/\/ \tprotoc/d' "$1"; }

if [[ ${1:-write} == write ]]; then
	generate_into "$schema"
	printf '  generated from %s\n' "${files[@]}"
	exit 0
fi

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
generate_into "$fresh"
stale=0
while read -r made; do
	name=${made#"$fresh"/}
	if ! diff -u <(without_versions "$schema/$name" 2>/dev/null) <(without_versions "$made") >"$fresh/diff"; then
		echo "$schema/$name is not what the schema generates; run: make generate"
		head -n 20 "$fresh/diff"
		stale=1
	fi
done < <(find "$fresh" -name '*.pb.go' | sort)
exit "$stale"
