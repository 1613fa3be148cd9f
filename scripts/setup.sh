#!/usr/bin/env bash
# Installs what building, linting and testing Parley need. What is there already is left alone.
#
#   scripts/setup.sh                 everything `make test` needs
#   scripts/setup.sh lint            only the linter
#   scripts/setup.sh protoc          only what `make generate` needs
#
# On Debian and its children packages come from apt, which needs root. Anywhere else the
# script names what is missing and how to get it, and fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

golangci_version=v2.15.0
node_major=20

say()  { printf '  %-22s %s\n' "$1" "$2"; }
have() { command -v "$1" >/dev/null 2>&1; }
version_of() { { "$@" 2>/dev/null || true; } | head -n 1; }

missing=()
apt_packages=()

# want COMMAND DEBIAN-PACKAGE HOW-ELSEWHERE: remember what is not there.
want() {
	if have "$1"; then
		say "$1" "$(command -v "$1")"
		return
	fi
	apt_packages+=("$2")
	missing+=("$1: $3")
}

want_browser() {
	local name
	for name in chromium chromium-browser google-chrome google-chrome-stable; do
		if have "$name"; then
			say browser "$(command -v "$name")"
			return
		fi
	done
	apt_packages+=(chromium)
	missing+=("chromium: install Chromium or Chrome and put it on the PATH")
}

# The race detector is linked with C, which takes a compiler and the headers of the C library.
want_c_compiler() {
	if have gcc && echo '#include <pthread.h>' | gcc -E - >/dev/null 2>&1; then
		say gcc "$(command -v gcc)"
		return
	fi
	apt_packages+=(gcc libc6-dev)
	missing+=("gcc: a C compiler with the headers of the C library, for the race detector")
}

node_is_new_enough() {
	have node && (("$(node -p 'process.versions.node.split(".")[0]')" >= node_major))
}

# Installs everything remembered by want with apt, or says what a person has to do.
install_missing() {
	((${#missing[@]})) || return 0
	if have apt-get && [[ $(id -u) == 0 ]]; then
		say apt "installing ${apt_packages[*]}"
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends "${apt_packages[@]}" >/dev/null
		return
	fi
	echo
	echo "These are missing:"
	printf '  - %s\n' "${missing[@]}"
	if have apt-get; then
		echo "On this system, run:  sudo apt-get install ${apt_packages[*]}"
	fi
	echo "Then run the same command again."
	exit 1
}

need_go() {
	if ! have go; then
		echo "Go is missing: install $(awk '$1 == "go" {print $2}' go.mod) or newer from https://go.dev/dl" >&2
		exit 1
	fi
	say go "$(version_of go env GOVERSION)"
}

# Debian 12 carries Node 18. The registry has the same program as a package, so a newer
# one can live in bin/ without touching the system.
need_node() {
	if ! node_is_new_enough && [[ -x bin/node/node_modules/node/bin/node ]]; then
		PATH="$PWD/bin/node/node_modules/node/bin:$PATH"
	fi
	if ! node_is_new_enough; then
		say node "installing version $node_major into bin/node"
		mkdir -p bin/node
		npm install --prefix bin/node --no-save --no-package-lock --no-audit --no-fund --silent "node@$node_major"
		PATH="$PWD/bin/node/node_modules/node/bin:$PATH"
	fi
	say node "$(version_of node --version)"
}

need_lint() {
	local built="bin/golangci-lint-$golangci_version"
	if [[ ! -x $built ]]; then
		say golangci-lint "building $golangci_version (two minutes the first time)"
		mkdir -p bin
		CGO_ENABLED=0 GOFLAGS='' GOBIN="$PWD/bin" go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$golangci_version"
		mv bin/golangci-lint "$built"
	fi
	ln -sf "golangci-lint-$golangci_version" bin/golangci-lint
	say golangci-lint "$golangci_version"
}

# The generator's version is the runtime's version in go.mod, so the two cannot drift apart.
need_protoc_gen_go() {
	local version built
	version=$(go list -m -f '{{.Version}}' google.golang.org/protobuf)
	built="bin/protoc-gen-go-$version"
	if [[ ! -x $built ]]; then
		say protoc-gen-go "building $version"
		mkdir -p bin
		CGO_ENABLED=0 GOFLAGS='' GOBIN="$PWD/bin" go install "google.golang.org/protobuf/cmd/protoc-gen-go@$version"
		mv bin/protoc-gen-go "$built"
	fi
	ln -sf "protoc-gen-go-$version" bin/protoc-gen-go
	say protoc-gen-go "$version"
}

# npm packages (type checker and test helpers) of every folder that asks for some.
need_npm_packages() {
	local manifest folder
	while read -r manifest; do
		folder=$(dirname "$manifest")
		if [[ -d $folder/node_modules && $folder/node_modules -nt $manifest ]]; then
			say "npm $folder" "there"
			continue
		fi
		say "npm $folder" "installing"
		npm install --prefix "$folder" --no-package-lock --no-audit --no-fund --silent
		touch "$folder/node_modules" 2>/dev/null || true
	done < <(scripts/js-packages.sh)
}

echo "Setting up"
need_go
case ${1:-all} in
lint)
	need_lint
	;;
protoc)
	want protoc protobuf-compiler "the protobuf compiler, from https://protobuf.dev/installation"
	install_missing
	need_protoc_gen_go
	;;
all)
	want_c_compiler
	want git git "from https://git-scm.com"
	want protoc protobuf-compiler "the protobuf compiler, from https://protobuf.dev/installation"
	have node || want node nodejs "Node.js $node_major or newer, from https://nodejs.org"
	want npm npm "comes with Node.js, from https://nodejs.org"
	want mosquitto_pub mosquitto-clients "clients of MQTT, from https://mosquitto.org"
	want_browser
	install_missing
	need_node
	need_npm_packages
	need_protoc_gen_go
	need_lint
	;;
*)
	echo "usage: scripts/setup.sh [all|lint|protoc]" >&2
	exit 2
	;;
esac
