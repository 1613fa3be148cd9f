#!/usr/bin/env bash
# Benchmarks, in three parts: the hot paths (Go benchmarks), the comparison with other servers when the
# measuring tools lie beside the project, and the scenarios of `parley bench`.
#
#   scripts/bench.sh                 everything
#   scripts/bench.sh compare         one part: paths, compare or scenarios
#   scripts/bench.sh --write         everything, and the table into docs/performance.md
#
# Sizes, each a variable: CONNECTIONS LARGE BURST TOPICS MESSAGES SETTLE (seconds). LARGE=0 leaves the large idle test out.
# STATE="quiet" is what the table says of the machine while it was measured; the load average stands beside it.
# SERVERS="floor parley" compares with fewer; the floor comes first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CONNECTIONS=${CONNECTIONS:-5000} LARGE=${LARGE:-15000} BURST=${BURST:-2000} TOPICS=${TOPICS:-2000}
MESSAGES=${MESSAGES:-200} SETTLE=${SETTLE:-3} BENCHTIME=${BENCHTIME:-1s} PORT=${PORT:-18100}
MEASURE=${MEASURE:-../shared/measure} STATE=${STATE:-not told} PKG=${PKG:-./...}
before=$(cut -d ' ' -f 1 /proc/loadavg 2>/dev/null || echo unknown) # load average
SIZE=128
page=docs/performance.md

work=$(mktemp -d)
server=
finish() {
	stop
	rm -rf "$work"
}
stop() {
	if [[ -n $server ]]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
		server=
	fi
}
trap finish EXIT
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

# start COMMAND…: runs a server at $address in the background and waits until it accepts connections.
start() {
	stop
	PORT=$((PORT + 1))
	address=127.0.0.1:$PORT
	"$@" >"$work/server.log" 2>&1 &
	server=$!
	for _ in $(seq 100); do
		if (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then return; fi
		if ! kill -0 "$server" 2>/dev/null; then break; fi
		sleep 0.1
	done
	echo "$1 did not start:" >&2
	cat "$work/server.log" >&2
	exit 1
}

start_hub() { start "$work/$1" "127.0.0.1:$((PORT + 1))"; }

# start_parley waits for more than the port: it is taken before the server has done what a start takes.
start_parley() {
	start "$work/parley" serve --addr "127.0.0.1:$((PORT + 1))" --data "$work/data" --log-level warn
	for _ in $(seq 100); do
		if grep -q 'Stop  *Ctrl' "$work/server.log"; then return; fi
		sleep 0.1
	done
	cat "$work/server.log" >&2
	exit 1
}

# figure NAME: the number of that name in the last line that the load printed.
figure() { sed -nE "s/.*\"$1\":(-?[0-9.]+).*/\1/p" "$work/load.json"; }

# load NAME FLAGS…: drives the server that runs.
load() {
	local name=$1
	shift
	local speak=(-path /ws -proto raw -pub ws)
	if [[ $name == parley ]]; then
		speak=(-path /ws -proto script -script "$work/hello" -tokens "$work/tokens" -prefix public/t
			-pub 'ws {"publish":{"topic":"{topic}","type":"t","payload":"{data}"}}')
	fi
	"$work/load" -name "$name" -pid "$server" -addr "$address" "${speak[@]}" -size "$SIZE" -settle "${SETTLE}s" "$@" >"$work/load.json"
	if [[ $(figure failed) != 0 || $(figure delivered) != "$(figure expected)" ]]; then
		echo "  not everything came through: $(cat "$work/load.json")" >&2
	fi
}

prepare() {
	echo "Building the measuring tools of $MEASURE" >&2
	cp -r "$MEASURE/load" "$work/load.src"
	cp -r "$MEASURE/hubs" "$work/hubs.src"
	(cd "$work/load.src" && GOFLAGS=-mod=mod go build -o "$work/load" .)
	for hub in floor gorillahub melodyhub gwshub; do
		(cd "$work/hubs.src" && GOFLAGS=-mod=mod go build -o "$work/$hub" "./$hub")
	done
	printf '%s\n' '{"id":1,"connect":{"token":"{token}"}}' '{"id":2,"subscribe":{"topic":"{topic}"}}' >"$work/hello"
	local most=$CONNECTIONS n
	for n in "$LARGE" "$BURST" "$TOPICS"; do ((n > most)) && most=$n; done
	start_parley # The first start makes the admin, whose password takes memory to hash.
	stop
	"$work/parley" token --data "$work/data" --user 'u{i}' --count "$((most + 1))" --ttl 2h >"$work/tokens"
}

# measure NAME: one line of the table. Every figure has a server of its own: a hub that has seen connections leave costs more.
measure() {
	local name=$1 begin=start_hub
	[[ $name == parley ]] && begin=start_parley
	echo "  $name" >&2
	"$begin" "$name"
	load "$name" -n "$CONNECTIONS" -msgs "$MESSAGES"
	local memory connect single burst=- one=- large=-
	memory=$(figure kb_per_conn) connect=$(figure connect_cpu_us) single=$(figure cpu_us_per_delivery)
	if [[ $name != floor ]]; then # it reads one frame at a time, and would lose those that come together
		"$begin" "$name"
		load "$name" -n "$BURST" -msgs "$MESSAGES" -window 32
		burst=$(figure cpu_us_per_delivery)
	fi
	if ((LARGE > 0)); then
		"$begin" "$name"
		load "$name" -n "$LARGE" -msgs 1
		large=$(figure kb_per_conn)
	fi
	if [[ $name == parley ]]; then
		"$begin" "$name"
		load "$name" -n "$TOPICS" -topics "$TOPICS" -msgs "$((MESSAGES * 100))" -window 64
		one=$(figure cpu_us_per_delivery)
	fi
	stop
	echo "$name $memory $large $single $burst $connect $one" >>"$work/figures"
}

table() {
	local cpu large="with $LARGE"
	((LARGE > 0)) || large="with more (left out)"
	cpu=$(sed -nE 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
	echo "Measured on $(date -u +%Y-%m-%d) at commit $(git rev-parse --short HEAD), $(nproc) × ${cpu:-unknown CPU}, $(uname -sr), $(go env GOVERSION)."
	echo "State of the machine: $STATE; load average before: $before (one for each core is full)."
	echo
	echo "$CONNECTIONS receivers of one topic and one message in flight; burst: $BURST receivers, 32 in flight;"
	echo "one-to-one: $TOPICS topics, 64 in flight. $MESSAGES messages of $SIZE bytes."
	echo
	echo "| server | KB per idle connection | $large | CPU µs per delivery | × floor | in a burst | × floor | CPU µs per connect | × floor | one-to-one µs |"
	echo "|---|---|---|---|---|---|---|---|---|---|"
	awk '
		function times(x, of) { return x == "-" || of + 0 == 0 ? "–" : sprintf("%.2f", x / of) }
		function shown(x) { return x == "-" ? "–" : sprintf("%.1f", x) }
		NR == 1 { single = $4; connect = $6 }
		{ printf "| %s | %s | %s | %.2f | %s | %s | %s | %.0f | %s | %s |\n", $1, shown($2), shown($3), $4, times($4, single),
			$5 == "-" ? "–" : sprintf("%.2f", $5), times($5, single), $6, times($6, connect), shown($7) }
	' "$work/figures"
}

# write: puts the table between its markers.
write() {
	awk -v file="$work/table" '
		/<!-- table: / { print; while ((getline line < file) > 0) print line; skip = 1; next }
		/<!-- \/table -->/ { skip = 0 }
		!skip' "$page" >"$work/page"
	cat "$work/page" >"$page"
	echo "The table in $page is new." >&2
}

part_paths() {
	local packages
	packages=$PKG
	if [[ $PKG == ./... ]]; then # those that have benchmarks, or all would be built
		packages=$(grep -rlE '^func Benchmark' --include='*_test.go' . | xargs -rn1 dirname | sort -u)
	fi
	if [[ -n $packages ]]; then
		# shellcheck disable=SC2086 # one word a package
		go test -run '^$' -bench . -benchmem -benchtime "$BENCHTIME" $packages
	fi
}

part_compare() {
	if [[ ! -d $MEASURE ]]; then
		echo "There are no measuring tools in $MEASURE: no comparison with other servers, the scenarios of parley bench only."
		return
	fi
	prepare
	local name
	for name in ${SERVERS:-floor gorillahub melodyhub gwshub parley}; do measure "$name"; done
	table | tee "$work/table"
	if ((rewrite)); then write; fi
}

part_scenarios() {
	"$work/parley" bench idle --connections "$CONNECTIONS"
	"$work/parley" bench fanout --connections "$BURST" --messages "$MESSAGES" --in-flight 32
	"$work/parley" bench one-to-one --topics "$TOPICS" --messages "$((MESSAGES * 100))"
	"$work/parley" bench storm --connections "$BURST"
	"$work/parley" bench slow || echo "  slow: see above" >&2 # a busy machine is reason enough
	"$work/parley" bench soak --duration 15s
}

rewrite=0
parts=()
for word in "$@"; do
	case $word in
	--write) rewrite=1 ;;
	paths | compare | scenarios) parts+=("$word") ;;
	*) echo "unknown word '$word': --write, paths, compare, scenarios" >&2; exit 2 ;;
	esac
done
if ((${#parts[@]} == 0)); then parts=(paths compare scenarios); fi
CGO_ENABLED=0 go build -trimpath -o "$work/parley" ./cmd/parley
for part in "${parts[@]}"; do "part_$part"; done
