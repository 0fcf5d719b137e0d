#!/bin/sh
# Shows a whole job on this machine: a node of its own, pictures in, small grey
# pictures out. `make demo` builds what it needs first.
#
#   scripts/demo.sh [FOLDER]    default: 72 maps of planets and moons
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
demo=$root/build/demo
ipdc=$root/bin/ipdc

say() { echo "$*" >&2; }
die() { say "demo.sh: $*"; exit 1; }
measure() { echo "$(find -L "$1" -type f | wc -l) files, $(du -shL "$1" | cut -f1)"; }

[ -x "$ipdc" ] || die "bin/ipdc is missing; run: make build"

if [ -n "${1:-}" ]; then
	pictures=$(cd "$1" && pwd) || die "$1 is not a folder"
else
	pictures=$("$root/scripts/pictures.sh")
fi
[ -n "$(find -L "$pictures" -type f | head -n 1)" ] || die "$pictures has no files"

# A node mounts a volume for each job's output, which takes root rights.
if [ "$(id -u)" -ne 0 ]; then
	exec sudo -E env "PATH=$PATH" "$0" "$pictures"
fi

export IPDC_PATH="$demo/node"
mkdir -p "$demo"
rm -rf "$demo/result"

# stop leaves nothing running, whatever the demo came to.
stop() {
	code=$?
	trap - EXIT INT TERM
	if [ "$code" -eq 130 ]; then
		say "stopping the job, as its node ends with the demo"
		"$ipdc" job stop @last || true
	fi
	"$ipdc" node stop || say "the node did not stop; see: IPDC_PATH=$IPDC_PATH $ipdc node status"
	if [ -n "${SUDO_UID:-}" ]; then
		chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$root/build" || true
	fi
	exit "$code"
}

if "$ipdc" node status >/dev/null 2>&1; then
	say "using the node of an earlier demo"
else
	"$ipdc" node start -d >&2
fi
trap stop EXIT
trap 'exit 130' INT TERM

say
say "before: $pictures, $(measure "$pictures")"
input=$("$ipdc" add -q "$pictures")
say "input:  $input"
say
say "\$ ipdc job submit -f examples/process.py -c $input --out build/demo/result"
result=$("$ipdc" job submit -f "$root/examples/process.py" -c "$input" --out "$demo/result")
say
say "after:  $demo/result, $(measure "$demo/result")"
say "result:"
echo "$result"
