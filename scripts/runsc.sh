#!/bin/sh
# Builds gVisor's runsc from its module and makes the Docker Engine know it, so
# that jobs can run with --runtime runsc. Does nothing when all is well. Works
# as root or through sudo.
#
#   scripts/runsc.sh build    build only; prints the path of the program
#   scripts/runsc.sh          that, and tell the engine
#
# The engine reads its runtimes again without a restart; containers that run
# are not disturbed. An engine with settings of its own keeps them: this script
# writes /etc/docker/daemon.json only where there is none, and else says what
# to add.
set -eu

# The branch "go" of gVisor, the one that the go command can build.
VERSION=v0.0.0-20260905035102-160fafc42237
GO=${GO:-go}
CONFIG=/etc/docker/daemon.json

cd "$(dirname "$0")/.."
tools=$PWD/build/tools
program=$tools/runsc-$VERSION

say() { echo "runsc.sh: $*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

build() {
	say "building runsc $VERSION, some minutes the first time"
	mkdir -p "$tools"
	cd "$tools" # a module of its own, so that our go.mod stays out of it
	export CGO_ENABLED=0 GOWORK=off
	[ -e go.mod ] || echo "module tools" >go.mod
	"$GO" mod download "gvisor.dev/gvisor@$VERSION" >&2
	cd "$("$GO" env GOMODCACHE)/gvisor.dev/gvisor@$VERSION"
	"$GO" build -trimpath -buildvcs=false -ldflags "-s -w -X gvisor.dev/gvisor/runsc/version.version=$VERSION" -o "$program.$$" ./runsc >&2
	mv "$program.$$" "$program"
}

known() { as_root docker info --format '{{json .Runtimes}}' 2>/dev/null | grep -q '"runsc"'; }

# config prints the engine's settings. The sandbox needs no network of its own,
# as a job's only way out is a unix socket, which --host-uds lets it open.
config() {
	cat <<END
{
  "runtimes": {
    "runsc": {
      "path": "$installed",
      "runtimeArgs": ["--network=none", "--host-uds=open"]
    }
  }
}
END
}

installed=/usr/local/bin/runsc # where it stays when the tree is removed

# current succeeds unless an older program of ours is installed. What somebody
# else has registered is theirs; doctor says when it lacks --host-uds=open.
current() { [ ! -x "$installed" ] || "$installed" --version | grep -q "$VERSION"; }

if [ "${1:-}" != build ] && known && current; then
	say "the engine knows runsc"
	exit
fi
[ -x "$program" ] || (build)
if [ "${1:-}" = build ]; then
	echo "$program"
	exit
fi

as_root install -m 0755 "$program" "$installed"
if known; then
	say "runsc is $VERSION now"
	exit
fi
if [ -s "$CONFIG" ]; then
	config >&2
	die "add these runtimes to $CONFIG, then run: sudo kill -HUP \"\$(cat /var/run/docker.pid)\""
fi
as_root mkdir -p "$(dirname "$CONFIG")"
config | as_root tee "$CONFIG" >/dev/null
as_root kill -HUP "$(as_root cat /var/run/docker.pid)"
tries=50
until known; do
	tries=$((tries - 1))
	[ "$tries" -gt 0 ] || die "the engine does not take up $CONFIG; see its log"
	sleep 0.1
done
say "the engine knows runsc now"
